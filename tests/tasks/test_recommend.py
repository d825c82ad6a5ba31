"""The task of recommending: what a batch teaches, and that it is learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sensorium.data.interactions.arrays import Entities, Histories, Interactions
from sensorium.models.ranking.config import RecommenderConfig
from sensorium.models.ranking.recommender import Recommender
from sensorium.recipe import RecommenderRecipe
from sensorium.tasks.recommend import Recommend, Windows

USERS, LENGTH, ITEMS = 4, 8, 30


def interactions() -> Interactions:
    rng = np.random.default_rng(0)
    count = USERS * LENGTH
    return Interactions(
        users=Entities([str(i) for i in range(USERS)]),
        items=Entities([str(i) for i in range(ITEMS)]),
        user=np.repeat(np.arange(USERS), LENGTH),
        item=np.concatenate([rng.permutation(ITEMS)[:LENGTH] for _ in range(USERS)]),
        time=np.tile(np.arange(LENGTH) * 100.0, USERS),
        rating=rng.integers(1, 6, count).astype(np.float32),
    )


def task(loss: str = "full") -> Recommend:
    inter = interactions()
    counts = np.bincount(inter.item, minlength=ITEMS)
    recipe = RecommenderRecipe(loss=loss, negatives=16)  # type: ignore[arg-type]
    return Recommend(inter, recipe, counts > 0, counts / counts.sum())


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_a_batch_asks_for_each_next_item_and_shows_only_what_was_before(loss: str) -> None:
    asked = task(loss)
    windows = Windows(asked.inter, np.arange(USERS * LENGTH), 50, seed=0)
    batch = asked.collate([windows[0, unit] for unit in range(USERS)])
    sequences = batch.sequences
    assert sequences.items.shape == (USERS, LENGTH - 1) and batch.supervised.all()
    wanted = batch.candidates[batch.targets].view(USERS, LENGTH)
    assert wanted.tolist() == asked.inter.item.reshape(USERS, LENGTH).tolist()
    assert sequences.items.tolist() == wanted[:, :-1].tolist()
    assert sequences.gaps[0].tolist() == [0.0] + [100.0] * (LENGTH - 2)
    assert asked.known[batch.candidates.numpy()].all()


def test_windows_of_long_histories_follow_from_seed_epoch_and_unit() -> None:
    inter = interactions()
    windows = Windows(inter, np.arange(USERS * LENGTH), 3, seed=0)
    firsts = [windows[epoch, 0].first for epoch in range(40)]
    assert firsts == [windows[epoch, 0].first for epoch in range(40)]
    assert set(firsts) == set(range(LENGTH - 3))  # each stretch of three and what follows it
    asked = task()
    batch = asked.collate([windows[epoch, 0] for epoch in range(40)])
    assert batch.supervised[:, 0].tolist() == [first == 0 for first in firsts]


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_a_handful_of_users_is_learnt_by_heart(loss: str) -> None:
    torch.manual_seed(0)
    asked = task(loss)
    windows = Windows(asked.inter, np.arange(USERS * LENGTH), 50, seed=0)
    sizes = {"items": ITEMS, "users": USERS, "width": 32, "history": 50, "dropout": 0.0, "identity_dropout": 0.0}
    model = Recommender(RecommenderConfig(**sizes, user_categories=[USERS]))
    model.user_categories.copy_(torch.arange(USERS)[:, None])
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(250):
        loss_ = asked.loss(model, asked.collate([windows[epoch, unit] for unit in range(USERS)]))
        optimizer.zero_grad()
        (loss_.total / loss_.count).backward()
        optimizer.step()
    assert loss_.total / loss_.count < 0.1
    inter = asked.inter
    items, ratings = (a.reshape(USERS, LENGTH)[:, :-1] for a in (inter.item, inter.rating))
    gaps = np.diff(inter.time.reshape(USERS, LENGTH)[:, :-1], prepend=0, axis=1).astype(np.float32)
    users = model.eval().user_vectors(Histories(items, gaps, ratings, np.arange(USERS)))
    best = (users @ model.item_vectors().T).argmax(1)
    assert best.tolist() == inter.item.reshape(USERS, LENGTH)[:, -1].tolist()


def test_reviews_go_with_what_is_read_and_never_with_what_is_asked_for() -> None:
    inter = interactions()
    inter.reviews = [f"of {i}" if i % 3 else None for i in range(len(inter))]
    counts = np.bincount(inter.item, minlength=ITEMS)
    asked = Recommend(inter, RecommenderRecipe(), counts > 0, counts / counts.sum())
    windows = Windows(inter, np.arange(USERS * LENGTH), 4, seed=0)  # stretches of five: the last of each is asked alone
    texts, _ = inter.said
    for epoch in range(5):
        drawn = [windows[epoch, unit] for unit in range(USERS)]
        batch = asked.collate(drawn)
        assert batch.sequences.reviews is not None
        read = [[texts[i] if i >= 0 else None for i in row] for row in batch.sequences.reviews.tolist()]
        assert read == [[inter.reviews[i] for i in window.rows[:-1]] for window in drawn]
    inter = interactions()
    plain = Recommend(inter, RecommenderRecipe(), counts > 0, counts / counts.sum())
    assert plain.collate([Windows(inter, np.arange(USERS * LENGTH), 4, seed=0)[0, 0]]).sequences.reviews is None
