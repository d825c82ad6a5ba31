"""Cases ranked over a catalogue: the same whatever is held at once, kept between sittings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sensorium.data.interactions.arrays import Histories
from sensorium.jobs.ranking.rankings import Ranked, answered, rank
from sensorium.run import Run


class Told:
    """A ranker whose scores of user u are row u of a table."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores, self.asked = torch.from_numpy(scores), 0

    def item_vectors(self, without: frozenset[str] = frozenset()) -> Tensor:
        return torch.eye(self.scores.shape[1])

    def item_bias(self) -> Tensor:
        return torch.zeros(self.scores.shape[1])

    def user_vectors(self, histories: Histories, without: frozenset[str] = frozenset()) -> Tensor:
        self.asked = max(self.asked, len(histories))
        return self.scores[torch.from_numpy(histories.users)]


def cases(users: int) -> Histories:
    items = np.array([[user % 5, -1] for user in range(users)])
    nothing = np.zeros((users, 2), np.float32)
    return Histories(items, nothing, nothing, np.arange(users))


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_a_large_catalogue_is_ranked_a_few_cases_at_a_time(exclude_seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    told = Told(rng.normal(size=(20, 12)).astype(np.float32))
    targets = rng.integers(5, 12, 20)
    whole = rank(told, cases(20), targets, exclude_seen)
    assert told.asked == 20
    told.asked = 0
    monkeypatch.setattr("sensorium.jobs.ranking.rankings.SCORES", 40)
    parts = rank(told, cases(20), targets, exclude_seen)
    assert told.asked == 3  # of twelve items each
    assert np.array_equal(parts.ranks, whole.ranks) and np.array_equal(parts.top, whole.top)
    for user, target in enumerate(targets):  # the plain way
        scores = told.scores[user].numpy().copy()
        if exclude_seen:
            scores[user % 5] = -np.inf
        assert whole.ranks[user] == 1 + (scores > scores[target]).sum()


def test_answers_are_asked_for_once(tmp_path: Path) -> None:
    run, asked = Run(tmp_path), []

    def answer() -> Ranked:
        asked.append(1)
        return Ranked(np.array([3, 1]), np.array([[4, 5, -1], [0, 2, 1]]))

    first, second = (answered(run, "gpt alone", 2, answer) for _ in range(2))
    assert len(asked) == 1 and (tmp_path / "answers_gpt_alone.parquet").is_file()
    assert np.array_equal(first.ranks, second.ranks) and np.array_equal(first.top, second.top)
    assert (tmp_path / "logs" / "run.log").read_text().count("test split read: gpt alone, 2 cases") == 1
