"""Ranking metrics against a slow reading of their definitions, ties included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sensorium.metrics import ranking

CUTOFFS = st.sampled_from([1, 3, 5, 10])


@st.composite
def tables(draw):  # few distinct scores, so that ties are the rule
    cases, items = draw(st.integers(1, 6)), draw(st.integers(2, 15))
    scores = draw(arrays(np.float32, (cases, items), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])))
    targets = draw(arrays(np.int64, cases, elements=st.integers(0, items - 1)))
    excluded = draw(arrays(bool, (cases, items)))
    return scores, targets, excluded


def slow_rank(scores, target, excluded):
    if excluded[target]:
        return ranking.NEVER
    order = sorted((i for i in range(len(scores)) if not excluded[i]), key=lambda i: -scores[i])
    places = [place for place, i in enumerate(order, start=1) if scores[i] == scores[target]]
    return math.ceil(sum(places) / len(places))


@given(tables())
def test_ranks_are_the_mean_place_of_equals_rounded_up(table):
    scores, targets, excluded = table
    found = ranking.ranks_of(scores, targets, excluded)
    assert found.tolist() == [slow_rank(*one) for one in zip(scores.tolist(), targets, excluded)]
    lists = [np.flatnonzero(row) for row in excluded]
    assert ranking.ranks_of(scores, targets, lists).tolist() == found.tolist()


@given(tables(), st.randoms(use_true_random=False))
def test_ranks_do_not_depend_on_the_order_of_items(table, random):
    scores, targets, excluded = table
    order = list(range(scores.shape[1]))
    random.shuffle(order)
    place = np.argsort(order)
    found = ranking.ranks_of(scores[:, order], place[targets], excluded[:, order])
    assert found.tolist() == ranking.ranks_of(scores, targets, excluded).tolist()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=12), CUTOFFS)
def test_accuracy_equals_its_definition(pairs, k):
    users, ranks = (np.array(column) for column in zip(*pairs))
    found = ranking.accuracy_at(ranks, k, users)
    for place, user in enumerate(sorted(set(users.tolist()))):
        mine = [r for u, r in pairs if u == user]
        near = [r for r in mine if r <= k]
        ideal = sum(1 / math.log2(1 + i) for i in range(1, min(len(mine), k) + 1))
        assert found["hit_rate"][place] == bool(near)
        assert found["recall"][place] == pytest.approx(len(near) / len(mine))
        assert found["mrr"][place] == pytest.approx(1 / min(near) if near else 0)
        assert found["ndcg"][place] == pytest.approx(sum(1 / math.log2(1 + r) for r in near) / ideal)


def test_ndcg_equals_scikit_learns_without_ties():
    from sklearn.metrics import ndcg_score

    draw = np.random.default_rng(0)
    scores, targets = draw.normal(size=(50, 30)), draw.integers(0, 30, 50)
    ours = ranking.accuracy_at(ranking.ranks_of(scores, targets), 10)["ndcg"].mean()
    assert ours == pytest.approx(ndcg_score(np.eye(30)[targets], scores, k=10))


def test_one_score_for_all_ranks_in_the_middle():
    assert ranking.ranks_of(np.zeros((3, 101)), np.array([0, 50, 100])).tolist() == [51, 51, 51]


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not numbers"):
        ranking.ranks_of(np.array([[0.0, np.nan]]), np.array([1]))


@pytest.mark.parametrize("excluded", [np.zeros((1, 3), bool), [np.array([1])] * 3])
def test_an_exclusion_of_another_shape_is_refused(excluded):
    with pytest.raises(ValueError, match="not fit"):
        ranking.ranks_of(np.zeros((2, 3)), np.array([0, 1]), excluded)


def test_what_is_never_recommended_is_found_at_no_cut_off():
    ranks = ranking.ranks_of(np.zeros((1, 3)), np.array([1]), [np.array([1, -1])])
    assert all(value.sum() == 0 for value in ranking.accuracy_at(ranks, 20).values())


@given(arrays(np.int64, (5, 4), elements=st.integers(-1, 7)), st.integers(0, 2**32 - 1))
def test_lists_equal_their_definitions(top, seed):
    draw = np.random.default_rng(seed)
    content, popularity = draw.normal(size=(8, 3)), draw.integers(1, 50, 8)
    content[0] = 0
    diverse, new, usual = (
        ranking.diversity(top, content),
        ranking.novelty(top, popularity),
        ranking.average_popularity(top, popularity),
    )
    for row, items in enumerate(top.tolist()):
        shown = [i for i in items if i >= 0]
        cosines = [
            0.0 if not content[a].any() or not content[b].any()
            else content[a] @ content[b] / np.linalg.norm(content[a]) / np.linalg.norm(content[b])
            for x, a in enumerate(shown) for y, b in enumerate(shown) if x != y
        ]  # fmt: skip
        assert diverse[row] == pytest.approx(1 - np.mean(cosines) if cosines else 0.0)
        bits = [-math.log2(popularity[i] / popularity.sum()) for i in shown]
        assert new[row] == pytest.approx(np.mean(bits) if bits else 0.0)
        assert usual[row] == pytest.approx(np.mean(popularity[shown]) if shown else 0.0)
    shown = top[top >= 0]
    counts = np.bincount(shown, minlength=8)
    assert ranking.coverage(top, 8).value == len(set(shown.tolist())) / 8
    gaps = np.abs(counts[:, None] - counts[None]).sum()
    expected = gaps / (2 * 8 * counts.sum()) if counts.sum() else 0.0
    assert ranking.concentration(top, 8).value == pytest.approx(expected)


def test_gini_of_all_alike_and_of_one_that_has_all():
    assert ranking.gini(np.full(5, 3.0)) == pytest.approx(0)
    assert ranking.gini(np.array([7.0]), items=100) == pytest.approx(0.99)
