"""Baselines of ranking: what each is for, and that none looks at anything but training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sensorium.data.interactions.arrays import Entities, Histories, Interactions, InteractionSplits
from sensorium.evaluation import ranking_baselines as baselines
from sensorium.metrics.ranking import ranks_of

USERS, ITEMS = 40, 12  # items 0–5 are for even users, 6–11 for odd ones; 5 and 11 are cold


@pytest.fixture(scope="module")
def shop():
    draw = np.random.default_rng(0)
    user, item = [], []
    for u in range(USERS):
        mine = draw.permutation(np.arange(5) + 6 * (u % 2))[:4]
        user += [u] * 6
        item += [*mine, mine[0] if u % 4 else 5 + 6 * (u % 2), mine[1]]
    n = len(user)
    items = Entities(
        [f"i{i}" for i in range(ITEMS)],
        {"kind": "category", "words": "text"},
        {"kind": ["a"] * 6 + ["b"] * 6, "words": [f"unlike {i} " + " ".join(map(str, range(i * 50, i * 50 + 50)))
                                                  for i in range(ITEMS)]},
    )  # fmt: skip
    users = Entities([f"u{i}" for i in range(USERS)])
    inter = Interactions(users, items, np.array(user), np.array(item), np.arange(n, dtype=float), np.full(n, np.nan))
    place = np.arange(n) % 6
    cold = np.isin(np.arange(ITEMS), [5, 11])
    train = np.flatnonzero(place < 3)
    return inter, InteractionSplits(train, np.flatnonzero(place == 3), np.flatnonzero(place > 3), cold, "by hand")


def histories(inter, splits, users):
    rows = [splits.train[inter.user[splits.train] == u] for u in users]
    items = np.array([inter.item[r] for r in rows]).reshape(len(users), -1)
    return Histories(items, np.zeros(items.shape), np.full(items.shape, np.nan), np.array(users))


@pytest.fixture(scope="module")
def check(shop):
    inter, splits = shop
    return baselines.Check(histories(inter, splits, list(range(USERS))), inter.item[splits.validation])


def fitted(name, shop, check):
    inter, splits = shop
    content = np.repeat(np.eye(2), 6, axis=0)
    return {
        "popular": lambda: baselines.most_popular(inter, splits, check),
        "neighbours": lambda: baselines.item_neighbours(inter, splits, check, (2, 5)),
        "factors": lambda: baselines.matrix_factorisation(inter, splits, check, (2, 4)),
        "content": lambda: baselines.content_neighbours(content, check, (1, 3)),
        "attributes": lambda: baselines.popular_attributes(inter, splits, check),
    }[name]()


NAMES = ("popular", "neighbours", "factors", "content", "attributes")


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_a_table_that_nothing_but_training_decides(name, shop, check):
    inter, splits = shop
    asked = histories(inter, splits, [0, 1, 2])
    scores = fitted(name, shop, check).scores(asked)
    assert scores.shape == (3, ITEMS) and scores.dtype == np.float32
    other = inter.item.copy()
    held = np.concatenate([splits.validation, splits.test])
    other[held] = np.random.default_rng(5).permutation(other[held])
    again = fitted(name, (replace(inter, item=other), splits), check).scores(asked)
    assert np.allclose(scores, again, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_history_has_finite_scores(name, shop, check):
    empty = Histories(np.full((1, 1), -1), np.zeros((1, 1)), np.full((1, 1), np.nan), np.array([-1]))
    assert np.isfinite(fitted(name, shop, check).scores(empty)).all()


@pytest.mark.parametrize("name", ["neighbours", "factors", "content"])
def test_people_are_shown_what_those_alike_took(name, shop, check):
    inter, splits = shop
    found = fitted(name, shop, check).fitted.scores(histories(inter, splits, [0, 1]))
    assert found[0, :5].min() > found[0, 6:11].max()
    assert found[1, 6:11].min() > found[1, :5].max()


def test_cold_items_are_reached_by_content_and_attributes_alone(shop, check):
    inter, splits = shop
    asked = histories(inter, splits, [0, 4, 8])
    cold = np.full(3, 5)
    assert (ranks_of(fitted("content", shop, check).fitted.scores(asked), cold) <= 4).all()
    assert (ranks_of(fitted("attributes", shop, check).fitted.scores(asked), cold) <= 10).all()
    assert (ranks_of(fitted("popular", shop, check).fitted.scores(asked), cold) >= 11).all()


def test_neighbours_equal_a_slow_reading(shop, check):
    inter, splits = shop
    table = np.zeros((USERS, ITEMS))
    table[inter.user[splits.train], inter.item[splits.train]] = 1
    length = np.maximum(np.linalg.norm(table, axis=0), 1e-12)
    cosine = table.T @ table / np.outer(length, length)
    np.fill_diagonal(cosine, 0)
    ours = baselines.item_neighbours(inter, splits, check, (ITEMS,)).fitted.scores(check.histories)
    assert np.allclose(ours, table @ cosine, atol=1e-5)


def test_what_was_chosen_is_said(shop, check):
    found = fitted("neighbours", shop, check)
    assert found.chosen["neighbours"] in (2, 5)
    assert found.leave_out_seen  # the next item is always a new one here
    assert "seen items left out, chosen on validation" in found.note("item_neighbours")
    scores = found.scores(check.histories)
    assert np.isneginf(np.take_along_axis(scores, check.histories.items, 1)).all()
    assert baselines.most_popular(*shop).note("most_popular") == ""


def test_attributes_are_categories_and_texts_of_few_words(shop):
    inter, _ = shop
    assert baselines.attributes(inter.items) == [[["a"]] * 6 + [["b"]] * 6]
    films = Entities(["x", "y"], {"genres": "text", "year": "number"},
                     {"genres": ["Drama|Comedy", None], "year": [1995.0, None]})  # fmt: skip
    assert baselines.attributes(films) == [[["Comedy", "Drama"], []], [["1995.0"], []]]
