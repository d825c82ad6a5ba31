"""Reasons against a score that can be taken apart by hand."""

from __future__ import annotations

import numpy as np
import torch

from sensorium.data.interactions.arrays import Histories
from sensorium.tasks.ranking_reasons import because


class Additive:
    """A user is the sum of the history's one-hot items; ``colour`` adds one to the score of item 3."""

    def item_vectors(self, without: frozenset[str] = frozenset()) -> torch.Tensor:
        vectors = torch.zeros(5, 6)
        vectors[3, 0], vectors[3, 1] = 4.0, 1.0
        vectors[3, 5] = 0.0 if "colour" in without else 1.0
        return vectors

    def item_bias(self) -> torch.Tensor:
        return torch.zeros(5)

    def user_vectors(self, histories: Histories, without: frozenset[str] = frozenset()) -> torch.Tensor:
        found = torch.zeros(len(histories), 6)
        for row, items in enumerate(histories.items):
            for item in items[items >= 0]:
                found[row, item] += 1
        found[:, 5] = 1
        return found


def test_what_is_taken_out_counts_for_what_it_gave() -> None:
    items = np.array([[-1, 0, 1, 2]])
    history = Histories(items, np.zeros((1, 4), np.float32), np.full((1, 4), np.nan, np.float32), np.array([0]))
    (found,) = because(Additive(), history, [3], ["colour"])
    told = {(one.kind, one.name): round(one.fall, 4) for one in found}
    share = 4 / 5  # a score counts above the mean of five, of which it is one
    expected = {("history", "0"): 4.0, ("history", "1"): 1.0, ("history", "2"): 0.0, ("input", "colour"): 1.0}
    assert told == {key: round(value * share, 4) for key, value in expected.items()}
    assert found[0].name == "0"


def test_an_empty_history_still_has_inputs() -> None:
    items = np.array([[-1]])
    history = Histories(items, np.zeros((1, 1), np.float32), np.full((1, 1), np.nan, np.float32), np.array([-1]))
    (found,) = because(Additive(), history, [3], ["colour"])
    assert [one.kind for one in found] == ["input"]


def test_each_item_of_a_list_has_its_own_reasons() -> None:
    items = np.array([[0, 1]])
    history = Histories(items, np.zeros((1, 2), np.float32), np.full((1, 2), np.nan, np.float32), np.array([0]))
    together = because(Additive(), history, [4, 3], ["colour"])
    assert together == [because(Additive(), history, [item], ["colour"])[0] for item in (4, 3)]
    assert together[0] != together[1]
