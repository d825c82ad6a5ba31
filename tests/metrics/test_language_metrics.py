"""Figures of language against the formulas in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.metrics.language import ranks_of_partners, statistics


def test_perplexities_are_of_all_tokens_and_bytes_together() -> None:
    nats, tokens, sizes = np.array([10.0, 2.0]), np.array([5.0, 4.0]), np.array([20.0, 12.0])
    found = statistics({"nats": nats, "tokens": tokens, "bytes": sizes})
    assert found["perplexity"].value == pytest.approx(np.exp(12 / 9))
    assert found["byte_perplexity"].value == pytest.approx(np.exp(12 / 32))


def test_shares_weigh_units_by_what_they_hold() -> None:
    columns = {
        "masked_right": np.array([1.0, 8.0]), "masked": np.array([2.0, 8.0]), "masked_nats": np.array([3.0, 4.0]),
        "next_right": np.array([0.0, 3.0]), "next": np.array([1.0, 3.0]),
        "matching_right": np.array([1.0, 2.0]), "matching": np.array([2.0, 2.0]),
    }  # fmt: skip
    found = {name: statistic.value for name, statistic in statistics(columns).items()}
    assert found == pytest.approx(
        {
            "masked_accuracy": 0.9,
            "masked_perplexity": np.exp(0.7),
            "next_sentence_accuracy": 0.75,
            "matching_accuracy": 0.75,
        }
    )


def test_rows_without_a_medium_do_not_count() -> None:
    found = statistics({"rank": np.array([1.0, 0.0, 7.0, 3.0])})
    assert [found[f"recall@{k}"].value for k in (1, 5, 10)] == pytest.approx([1 / 3, 2 / 3, 1])


def test_what_loses_everything_stays_finite() -> None:
    assert np.isfinite(statistics({"nats": np.array([1e9]), "tokens": np.array([1.0])})["perplexity"].value)


@given(st.integers(1, 12), st.integers(0, 10_000))
def test_ranks_are_places_in_the_sorted_row(n: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(n, n))
    found = ranks_of_partners(scores)
    for row in range(n):
        assert found[row] == 1 + np.flatnonzero(np.argsort(-scores[row]) == row)[0]


def test_alike_rows_do_not_stand_in_each_others_way_and_ties_are_halved() -> None:
    scores = np.array([[0.5, 0.9, 0.1], [0.2, 0.4, 0.3], [0.7, 0.7, 0.7]])
    assert ranks_of_partners(scores).tolist() == [2, 1, 2]
    assert ranks_of_partners(scores, np.array([4, 4, 5])).tolist() == [1, 1, 2]
