"""Lists from vectors, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.tasks import ranking
from sensorium.tasks.ranking import ages, rerank, top_k


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**31))
def test_top_k_is_a_sort(users: int, items: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right, bias = rng.normal(size=(users, 3)), rng.normal(size=(items, 3)), rng.normal(size=items)
    seen = rng.integers(-1, items, (users, 2))
    places, scores = top_k(*(torch.from_numpy(a) for a in (left, right)), k, torch.from_numpy(bias), seen)
    expected = left @ right.T + bias
    for row, out in enumerate(seen):
        expected[row, out[out >= 0]] = -np.inf
    best = -np.sort(-expected, axis=1)[:, :k]
    np.testing.assert_allclose(scores.numpy(), best)
    np.testing.assert_allclose(np.take_along_axis(expected, places.numpy(), 1), best)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 400), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**31))
def test_blocks_and_stretches_change_nothing(users: int, items: int, k: int, together: int, seed: int) -> None:
    """Small blocks, so that few items have many of them; few values, so that many scores are equal."""
    rng = np.random.default_rng(seed)
    left, right = (rng.integers(-2, 3, (n, 2)).astype(np.float32) for n in (users, items))
    seen = rng.integers(-1, items, (users, items // 2 + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK", 4)
        patch.setattr(ranking, "MEMORY", together * items * 4)
        places, scores = top_k(torch.from_numpy(left), torch.from_numpy(right), k, None, seen)
    expected = left @ right.T
    for row, out in enumerate(seen):
        expected[row, out[out >= 0]] = -np.inf
    np.testing.assert_array_equal(scores.numpy(), -np.sort(-expected, axis=1)[:, :k])
    np.testing.assert_array_equal(np.take_along_axis(expected, places.numpy(), 1), scores.numpy())
    assert all(len(set(row)) == len(row) for row in places.tolist())


def test_ages_go_by_the_order_of_first_appearance() -> None:
    assert ages([30.0, None, 10.0, 10.0, 20.0]).tolist() == [0.0, 0.0, 1.0, 1.0, 0.5]
    assert ages([None, None]).tolist() == [0.0, 0.0] and ages([5.0]).tolist() == [0.0]


def test_no_users_have_no_lists() -> None:
    places, scores = top_k(torch.zeros(0, 2), torch.zeros(5, 2), 3)
    assert places.shape == scores.shape == (0, 3)


def test_no_diversity_keeps_the_order() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 4))
    assert rerank(np.arange(6)[::-1].astype(float), vectors, 6).tolist() == [0, 1, 2, 3, 4, 5]


def test_diversity_brings_up_what_is_unlike() -> None:
    vectors = np.array([[1.0, 0], [1, 0.01], [1, 0.02], [0, 1]])
    scores = np.array([4.0, 3.9, 3.8, 3.5])
    assert rerank(scores, vectors, 2).tolist() == [0, 1]
    assert rerank(scores, vectors, 2, diversity=0.7).tolist() == [0, 3]


def test_freshness_brings_up_the_new() -> None:
    scores, age = np.array([2.0, 1.9, 1.0]), np.array([1.0, 0.0, 0.5])
    assert rerank(scores, np.eye(3), 1, freshness=0.0, age=age).tolist() == [0]
    assert rerank(scores, np.eye(3), 1, freshness=0.5, age=age).tolist() == [1]


@pytest.mark.parametrize("k", [1, 5, 9])
def test_every_place_comes_once(k: int) -> None:
    found = rerank(np.random.default_rng(1).normal(size=5), np.zeros((5, 2)), k, diversity=0.5)
    assert len(set(found.tolist())) == min(k, 5)
