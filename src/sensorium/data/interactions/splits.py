"""Which interactions train and which are asked for, and what was known of a user before each case.

Everything is ordered by (user, time, order of the file): ties in time keep the file's order, as in RecBole.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

import numpy as np

from sensorium.data.interactions.arrays import Histories, Interactions, InteractionSplits
from sensorium.errors import DataError
from sensorium.recipe import InteractionSplitRecipe

LEAST = 3  # interactions of a user that leave one out: one trains, one validates, one tests


def split_interactions(inter: Interactions, recipe: InteractionSplitRecipe) -> InteractionSplits:
    """Part the interactions as the recipe says.

    leave_one_out: of each user with at least 3, the last tests and the one before validates. by_time: the oldest
    train, the newest test, cut between different times. cold_items: a share of the touched items is withheld from
    training, drawn by ``seed`` from the names in sorted order; their interactions are the cases.

    Raises:
        DataError: a part would be empty.
    """
    order = _ordered(inter, np.arange(len(inter)))
    parts = {"leave_one_out": _leave_one_out, "by_time": _by_time, "cold_items": _cold_items}
    splits = parts[recipe.kind](inter, recipe, order)
    for name, rows in (("train", splits.train), ("validation", splits.validation), ("test", splits.test)):
        if not len(rows):
            raise DataError(
                f"no interaction is left for the {name} part ({splits.method})",
                where="data.interactions.split",
                mend="give more interactions, or split otherwise",
            )
    return splits


def history_of(
    inter: Interactions,
    splits: InteractionSplits,
    cases: np.ndarray,
    limit: int,
    part: Literal["train", "validation", "test"],
) -> Histories:
    """What is known before each case: the latest ``limit`` of the user's interactions that are strictly earlier.

    Args:
        cases: (cases,) indices of interactions, of ``part``.
        part: for train and validation, training interactions are known; for test also validation ones. Where
            ``splits.rolling``, every earlier interaction of the user is known to validation and test cases. Withheld
            items are in no history.

    Returns:
        Histories, a row a case in their order, as wide as the longest (at most ``limit``, at least 1).
    """
    cases = np.asarray(cases, dtype=np.int64)
    known = np.zeros(len(inter), dtype=bool)
    known[splits.train] = True
    if splits.rolling and part != "train":
        known[:] = True
    elif part == "test":
        known[splits.validation] = True
    known &= ~splits.cold[inter.item]
    asked = np.zeros(len(inter.users), dtype=bool)
    asked[inter.user[cases]] = True
    is_case = np.zeros(len(inter), dtype=bool)
    is_case[cases] = True
    together = _ordered(inter, np.flatnonzero(asked[inter.user] & (known | is_case)))
    rank = np.empty(len(inter), dtype=np.int64)  # of the cases; others are never read
    rank[together] = np.cumsum(known[together]) - known[together]  # known interactions that stand before
    rows = together[known[together]]
    users = inter.user[cases]
    return _windows(inter, rows, np.searchsorted(inter.user[rows], users), rank[cases], users, limit)


def all_histories(inter: Interactions, rows: np.ndarray, users: np.ndarray, limit: int) -> Histories:
    """The latest ``limit`` of the interactions ``rows`` of each of ``users``.

    Args:
        rows: indices of interactions in any order.
        users: (users,) indices of users, repeats allowed; -1, a visitor who is none of ours, has an empty history.
    """
    users = np.asarray(users, dtype=np.int64)
    asked = np.zeros(len(inter.users) + 1, dtype=bool)  # one more: -1 is nobody's
    asked[users] = True
    rows = np.asarray(rows, dtype=np.int64)
    rows = _ordered(inter, rows[asked[inter.user[rows]]])
    owners = inter.user[rows]
    starts, ends = np.searchsorted(owners, users, "left"), np.searchsorted(owners, users, "right")
    return _windows(inter, rows, starts, ends, users, limit)


def split_hash(inter: Interactions, splits: InteractionSplits) -> str:
    """Hex SHA-256 of {user: item} of the test cases as JSON, sorted by user: equal for equal splits of equal data.

    Of a user with several cases the last counts; leave_one_out has one each.
    """
    users, items = inter.users.names, inter.items.names
    held = {users[inter.user[row]]: items[inter.item[row]] for row in splits.test.tolist()}
    return hashlib.sha256(json.dumps(dict(sorted(held.items()))).encode()).hexdigest()


# -- the three ways to split -----------------------------------------------------------------------


def _leave_one_out(inter: Interactions, recipe: InteractionSplitRecipe, order: np.ndarray) -> InteractionSplits:
    counts = np.bincount(inter.user, minlength=len(inter.users))
    ends = np.cumsum(counts)[counts >= LEAST]
    held = np.zeros(len(order), dtype=bool)
    held[ends - 1] = held[ends - 2] = True
    few = int(((counts > 0) & (counts < LEAST)).sum())
    method = "leave one out: the last item of each user tests, the one before validates"
    if few:
        method += f"; {few:,} users with fewer than {LEAST} interactions only train"
    cold = np.zeros(len(inter.items), dtype=bool)
    return InteractionSplits(order[~held], order[ends - 2], order[ends - 1], cold, method)


def _by_time(inter: Interactions, recipe: InteractionSplitRecipe, order: np.ndarray) -> InteractionSplits:
    values = np.sort(inter.time)
    cuts = np.flatnonzero(np.diff(values)) + 1  # where one moment ends and the next begins
    if len(cuts) < 2:
        raise DataError(
            "too few different times for three parts", where="data.interactions.split", mend="split otherwise"
        )
    wanted = len(values) * np.array([1 - recipe.validation - recipe.test, 1 - recipe.test])
    second = min(max(int(np.argmin(np.abs(cuts - wanted[1]))), 1), len(cuts) - 1)
    first = min(int(np.argmin(np.abs(cuts - wanted[0]))), second - 1)
    t1, t2 = values[cuts[first]], values[cuts[second]]
    when = inter.time[order]
    train, test = order[when < t1], order[when >= t2]
    validation = order[(when >= t1) & (when < t2)]
    known = np.zeros(len(inter.users), dtype=bool)
    known[inter.user[train]] = True
    new = int((~known[inter.user[test]]).sum())
    method = f"by time: training before {_date(t1)}, test from {_date(t2)} on (UTC)"
    method += f"; {new:,} of {len(test):,} test cases are of users whom training never saw" if new else ""
    cold = np.zeros(len(inter.items), dtype=bool)
    return InteractionSplits(train, validation, test, cold, method, rolling=True)


def _cold_items(inter: Interactions, recipe: InteractionSplitRecipe, order: np.ndarray) -> InteractionSplits:
    touched = np.unique(inter.item)
    names = np.array([inter.items.names[i] for i in touched.tolist()], dtype=object)
    drawn = touched[np.argsort(names, kind="stable")]  # sorted by name: the file's order plays no part
    drawn = drawn[np.random.default_rng([recipe.seed, 10]).permutation(len(drawn))]
    n_test, n_validation = (max(1, round(share * len(drawn))) for share in (recipe.test, recipe.validation))
    part = np.zeros(len(inter.items), dtype=np.int64)
    part[drawn[:n_test]] = 2
    part[drawn[n_test : n_test + n_validation]] = 1
    of = part[inter.item[order]]
    method = (
        f"cold items: {n_validation:,} items validate and {n_test:,} test of {len(drawn):,}; "
        f"training holds none of them (seed {recipe.seed})"
    )
    return InteractionSplits(order[of == 0], order[of == 1], order[of == 2], part > 0, method)


# -- order -----------------------------------------------------------------------------------------


def _ordered(inter: Interactions, rows: np.ndarray) -> np.ndarray:
    """``rows`` by (user, time, order of the file)."""
    return rows[np.lexsort((rows, inter.time[rows], inter.user[rows]))]


def _windows(
    inter: Interactions, rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, users: np.ndarray, limit: int
) -> Histories:
    """The last ``limit`` of ``rows[start:end]`` for each user, padded on the left."""
    if limit < 1:
        raise ValueError(f"limit {limit} keeps nothing of a history")
    width = int(np.clip((ends - starts).max(initial=0), 1, limit))
    place = ends[:, None] - width + np.arange(width)
    filled = place >= starts[:, None]
    plain = inter.reviews is None
    if not len(rows):
        empty = np.full(place.shape, -1, dtype=np.int64)
        none = np.full(place.shape, np.nan, np.float32)
        return Histories(empty, np.zeros(place.shape, np.float32), none, users.copy(), None if plain else empty.copy())
    chosen = rows[np.where(filled, place, 0)]
    gaps = np.zeros(place.shape, dtype=np.float32)
    gaps[:, 1:] = np.where(filled[:, :-1], np.diff(inter.time[chosen], axis=1), 0)
    items = np.where(filled, inter.item[chosen], -1)
    ratings = np.where(filled, inter.rating[chosen], np.float32(np.nan))
    reviews = None if plain else np.where(filled, inter.said[1][chosen], -1)
    return Histories(items, gaps, ratings, users.copy(), reviews)


def _date(seconds: float) -> str:
    return str(np.datetime64(int(seconds), "s")).replace("T", " ")
