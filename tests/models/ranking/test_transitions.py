"""The closed form against a plain loop, and what it must learn."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.models.ranking.transitions import decayed, fit_transitions


def by_loop(sequences: list[list[int]], catalogue: int, decay: float, ridge: float) -> np.ndarray:
    met, following = [], []
    for sequence in sequences:
        for step in range(len(sequence) - 1):
            row = np.zeros(catalogue)
            for age, item in enumerate(reversed(sequence[: step + 1])):
                row[item] += decay**age
            met.append(row)
            following.append(np.eye(catalogue)[sequence[step + 1]])
    if not met:
        return np.zeros((catalogue, catalogue))
    h, y = np.array(met), np.array(following)
    return np.linalg.inv(h.T @ h + ridge * np.eye(catalogue)) @ h.T @ y


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=6),
    st.floats(0.2, 0.7),
    st.floats(0.1, 10),
)
def test_closed_form_equals_the_loop(sequences: list[list[int]], decay: float, ridge: float) -> None:
    user = np.repeat(np.arange(len(sequences)), [len(s) for s in sequences])
    item = np.concatenate([np.array(s) for s in sequences])
    found = fit_transitions(user, item, 6, decay, ridge)
    np.testing.assert_allclose(found, by_loop(sequences, 6, decay, ridge), atol=1e-5)


def test_a_cycle_is_learnt_and_padding_counts_nothing() -> None:
    item = np.tile(np.arange(4), 30)
    found = fit_transitions(np.zeros(len(item), dtype=int), item, 4, 0.3, 0.1)
    histories = np.array([[-1, -1, 0], [-1, 3, 1], [-1, -1, -1]])
    scores = decayed(histories, 4, 0.3) @ found
    assert scores[:2].argmax(1).tolist() == [1, 2]
    assert not scores[2].any()


def test_users_do_not_run_into_each_other() -> None:
    found = fit_transitions(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3]), 4, 0.5, 1.0)
    assert found[1].tolist() == [0, 0, 0, 0]  # 1 was the last of its user: 2 does not follow
    assert found[0, 1] > 0 and found[2, 3] > 0
