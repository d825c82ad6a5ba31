"""Splits of interactions: no test interaction is reachable from training or from any case's history."""

import hashlib
import resource
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.interactions.arrays import Entities, Interactions
from sensorium.data.interactions.splits import all_histories, history_of, split_hash, split_interactions
from sensorium.errors import DataError
from sensorium.recipe import InteractionSplitRecipe
from tests.data.shops import made

KINDS = ("leave_one_out", "by_time", "cold_items")


def split(inter: Interactions, kind: str = "leave_one_out", **more: object):
    return split_interactions(inter, InteractionSplitRecipe(kind=kind, **more))


@st.composite
def interactions(draw, distinct_times: bool = False) -> Interactions:
    """A few users and items at a few times, so that ties and repeats are common."""
    rows = draw(st.integers(12, 40))
    user = draw(st.lists(st.integers(0, 4), min_size=rows, max_size=rows))
    item = draw(st.lists(st.integers(0, 9), min_size=rows, max_size=rows))
    if distinct_times:
        when = draw(st.permutations(range(rows)))
    else:
        when = draw(st.lists(st.integers(0, 8), min_size=rows, max_size=rows))
    rating = draw(st.lists(st.sampled_from([1.0, 5.0, np.nan]), min_size=rows, max_size=rows))
    return made(user, item, when, rating)


def parted(inter: Interactions, kind: str):
    try:
        return split(inter, kind, validation=0.2, test=0.2)
    except DataError:
        return None  # a part would be empty: refused, not wrong


def before(inter: Interactions, case: int, known: set[int]) -> list[int]:
    """What a history must hold, row by row: the plain way."""
    same = [r for r in known if inter.user[r] == inter.user[case]]
    return sorted(
        (r for r in same if (inter.time[r], r) < (inter.time[case], case)), key=lambda row: (inter.time[row], row)
    )


# -- by hand ---------------------------------------------------------------------------------------


def test_leave_one_out_by_hand():
    #            u0 at 3, 1, 2; u1 twice only; u2 with ties, where the file's order holds
    inter = made([0, 0, 0, 1, 1, 2, 2, 2, 2], [5, 6, 7, 5, 6, 0, 1, 2, 3], [3, 1, 2, 1, 2, 9, 9, 9, 9])
    splits = split(inter)
    assert splits.train.tolist() == [1, 3, 4, 5, 6]
    assert splits.validation.tolist() == [2, 7] and splits.test.tolist() == [0, 8]
    assert "1 users with fewer than 3 interactions only train" in splits.method and not splits.cold.any()


def test_histories_by_hand():
    inter = made([0, 0, 0, 0, 1, 1, 1], [4, 5, 6, 7, 1, 2, 3], [10, 20, 50, 90, 5, 6, 7], [1, 2, 3, 4, 5, 4, 3])
    splits = split(inter)
    test = history_of(inter, splits, splits.test, 10, "test")
    assert test.items.tolist() == [[4, 5, 6], [-1, 1, 2]] and test.users.tolist() == [0, 1]
    assert test.gaps.tolist() == [[0, 10, 30], [0, 0, 1]]
    assert np.array_equal(test.ratings, np.float32([[1, 2, 3], [np.nan, 5, 4]]), equal_nan=True)
    assert history_of(inter, splits, splits.validation, 10, "validation").items.tolist() == [[4, 5], [-1, 1]]
    short = history_of(inter, splits, splits.test[::-1], 2, "test")  # the latest, in the cases' order
    assert short.items.tolist() == [[1, 2], [5, 6]] and short.gaps.tolist() == [[0, 1], [0, 30]]
    trained = history_of(inter, splits, splits.train, 10, "train")
    assert trained.items.tolist() == [[-1], [4], [-1]]


def test_by_time_cuts_between_moments():
    inter = made([0, 1] * 10, list(range(20)), [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5, 5, 5])
    splits = split(inter, "by_time", validation=0.2, test=0.2)
    when = [np.unique(inter.time[rows]).tolist() for rows in (splits.train, splits.validation, splits.test)]
    assert when == [[0, 1, 2, 3], [4], [5]]  # a moment is never cut in two
    late = history_of(inter, splits, splits.test[-1:], 99, "test")
    assert late.items[0].tolist() == [1, 3, 5, 7, 9, 11, 13, 15, 17]  # in use, earlier test items would be known
    with pytest.raises(DataError, match="too few different times"):
        split(made([0, 0, 0], [0, 1, 2], [1, 1, 1]), "by_time")


def test_by_time_tells_of_new_users():
    inter = made([0] * 8 + [1] * 2, list(range(10)), list(range(10)))
    splits = split(inter, "by_time", validation=0.1, test=0.2)
    assert splits.test.tolist() == [8, 9] and "2 of 2 test cases are of users whom training never saw" in splits.method
    assert history_of(inter, splits, splits.test, 9, "test").items.tolist() == [[-1], [8]]


def test_cold_items_are_a_share_and_depend_on_names_alone():
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 30, 600).tolist(), rng.integers(0, 50, 600).tolist()
    inter = made(user, item, list(range(600)))
    splits = split(inter, "cold_items", validation=0.1, test=0.2)
    test, validation = (set(inter.item[rows].tolist()) for rows in (splits.test, splits.validation))
    assert len(test) == 10 and len(validation) == 5 and not test & validation
    assert set(np.flatnonzero(splits.cold).tolist()) == test | validation
    assert not set(inter.item[splits.train].tolist()) & (test | validation)
    other = split(inter, "cold_items", validation=0.1, test=0.2, seed=1)
    assert set(inter.item[other.test].tolist()) != test


def test_an_empty_part_is_refused():
    with pytest.raises(DataError, match="no interaction is left for the validation part"):
        split(made([0, 0, 1], [0, 1, 2], [1, 2, 3]))


def test_histories_of_users_and_visitors():
    inter = made([0, 1, 0, 0], [3, 4, 5, 6], [3, 1, 1, 2])
    found = all_histories(inter, np.array([0, 1, 2]), np.array([1, -1, 0, 1]), 5)
    assert found.items.tolist() == [[-1, 4], [-1, -1], [5, 3], [-1, 4]] and found.users.tolist() == [1, -1, 0, 1]
    assert found.gaps.tolist() == [[0, 0], [0, 0], [0, 2], [0, 0]]
    nobody = all_histories(inter, np.array([], dtype=np.int64), np.array([0, -1]), 5)
    assert nobody.items.tolist() == [[-1], [-1]] and np.isnan(nobody.ratings).all() and not nobody.gaps.any()
    assert len(all_histories(inter, np.arange(4), np.array([], dtype=np.int64), 5)) == 0


def test_the_hash_is_of_names():
    inter = made([0, 0, 0, 1, 1, 1], [3, 4, 5, 3, 4, 5], [1, 2, 3, 1, 2, 3])
    splits = split(inter)
    assert split_hash(inter, splits) == hashlib.sha256(b'{"u0": "i5", "u1": "i5"}').hexdigest()


# -- always ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@given(inter=interactions(), limit=st.integers(1, 12))
def test_nothing_of_the_test_part_is_reachable(kind, inter, limit):
    splits = parted(inter, kind)
    if splits is None:
        return
    train, validation, test = (set(rows.tolist()) for rows in (splits.train, splits.validation, splits.test))
    assert not train & validation and not train & test and not validation & test
    if kind == "leave_one_out":
        assert train | validation | test == set(range(len(inter)))
    if kind == "by_time":
        assert inter.time[splits.train].max() < inter.time[splits.validation].min()
        assert inter.time[splits.validation].max() < inter.time[splits.test].min()
    if kind == "cold_items":
        assert not splits.cold[inter.item[splits.train]].any() and splits.cold[inter.item[splits.test]].all()
    everything = set(range(len(inter)))
    inter.reviews = [f"of row {row}" if row % 4 else None for row in range(len(inter))]
    texts, _ = inter.said
    known = {
        "train": train,
        "validation": everything if kind == "by_time" else train,
        "test": everything if kind == "by_time" else train if kind == "cold_items" else train | validation,
    }
    for part, rows in (("train", splits.train), ("validation", splits.validation), ("test", splits.test)):
        found = history_of(inter, splits, rows, limit, part)
        assert found.items.shape == found.gaps.shape == found.ratings.shape and found.items.shape[1] <= limit
        assert found.reviews is not None and found.reviews.shape == found.items.shape
        parts = (found.items, found.gaps, found.ratings, found.reviews)
        for case, items, gaps, ratings, reviews in zip(rows.tolist(), *parts, strict=True):
            expected = before(inter, case, known[part])[-limit:]
            pad = len(items) - len(expected)
            assert items.tolist() == [-1] * pad + inter.item[expected].tolist()
            assert gaps[pad:].tolist() == [0, *np.diff(inter.time[expected])][: len(expected)] and not gaps[:pad].any()
            told = np.concatenate([np.full(pad, np.nan, np.float32), inter.rating[expected]])
            assert np.array_equal(ratings, told, equal_nan=True)
            said = [texts[review] if review >= 0 else None for review in reviews]
            assert said == [None] * pad + [inter.reviews[row] for row in expected]  # never the case's own


@pytest.mark.parametrize("kind", KINDS)
@given(inter=interactions(distinct_times=True), data=st.data())
def test_the_order_of_the_file_plays_no_part_where_times_differ(kind, inter, data):
    order = np.array(data.draw(st.permutations(range(len(inter)))))
    # other rows, and other indices of items, as another file's order would give
    place = np.array(data.draw(st.permutations(range(len(inter.items)))))
    names = [""] * len(place)
    for old, new in enumerate(place.tolist()):
        names[new] = inter.items.names[old]
    other = Interactions(
        inter.users,
        Entities(names),
        inter.user[order],
        place[inter.item[order]],
        inter.time[order],
        inter.rating[order],
    )
    one, two = parted(inter, kind), parted(other, kind)
    assert (one is None) == (two is None)
    if one is None or two is None:
        return

    def told(given: Interactions, rows: np.ndarray) -> list[tuple]:
        return [(int(given.user[r]), given.items.names[given.item[r]], given.time[r]) for r in rows.tolist()]

    assert told(inter, one.train) == told(other, two.train)
    for part in ("validation", "test"):
        ours, theirs = getattr(one, part), getattr(two, part)
        assert told(inter, ours) == told(other, theirs)
        first, second = history_of(inter, one, ours, 20, part), history_of(other, two, theirs, 20, part)
        named = [[g.items.names[i] if i >= 0 else "" for row in h.items for i in row] for g, h in
                 ((inter, first), (other, second))]  # fmt: skip
        assert named[0] == named[1] and np.array_equal(first.gaps, second.gaps)
    assert split_hash(inter, one) == split_hash(other, two)


# -- many ------------------------------------------------------------------------------------------


def test_a_million_interactions_in_seconds():
    rng = np.random.default_rng(0)
    users, items, rows = 50_000, 20_000, 1_000_000
    names = [str(i) for i in range(users)], [str(i) for i in range(items)]
    when = rng.integers(0, 10**8, rows).astype(np.float64)
    inter = Interactions(
        Entities(names[0]), Entities(names[1]), rng.integers(0, users, rows), rng.integers(0, items, rows), when,
        np.full(rows, np.nan, np.float32),
    )  # fmt: skip
    for kind in KINDS:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        splits = split(inter, kind)
        found = history_of(inter, splits, splits.test, 20, "test")
        spent = time.process_time() - began
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
        print(f"{kind}: {spent:.1f} s, {len(found):,} cases, {grown:.0f} MiB more")
        assert spent < 10 and grown < 600
