"""Cases ranked over the whole catalogue by the model and by simpler methods, and what ``metrics.json`` is made of."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sensorium import assets
from sensorium.data.interactions.arrays import Histories, Interactions, InteractionSplits
from sensorium.data.interactions.checks import InteractionReport
from sensorium.data.interactions.reading import open_interactions
from sensorium.data.interactions.splits import history_of, split_interactions
from sensorium.evaluation import ranking_baselines as baselines
from sensorium.evaluation.ranking_table import LIST, RankingMeasured, activity
from sensorium.metrics.ranking import NEVER, ranks_of
from sensorium.models.ranking.protocols import Ranker
from sensorium.models.ranking.recommender import Recommender
from sensorium.recipe import InteractionsRecipe, Recipe
from sensorium.run import Run, write_atomic

CHUNK = 512  # cases whose scores over the catalogue are held at once, at the most
SCORES = 1 << 24  # scores that are held at once
GROUPED = 12  # most values of a user's category by which results are also given


@dataclass
class Shop:
    """Interactions, how they are parted, and what was found in them."""

    inter: Interactions
    splits: InteractionSplits
    report: InteractionReport

    @property
    def popularity(self) -> np.ndarray:
        """(items,) training interactions of each."""
        return np.bincount(self.inter.item[self.splits.train], minlength=len(self.inter.items))

    @property
    def sizes(self) -> dict[str, int]:
        """Part: its interactions."""
        return {part: len(getattr(self.splits, part)) for part in ("train", "validation", "test")}

    def histories(self, cases: np.ndarray, limit: int, part: Any) -> Histories:
        return history_of(self.inter, self.splits, cases, limit, part)


def open_shop(recipe: Recipe) -> Shop:
    """The recipe's interactions, checked and parted."""
    inter, found = open_interactions(recipe.data, assets.cache_root() / "tables")
    asked = recipe.data.interactions or InteractionsRecipe()
    return Shop(inter, split_interactions(inter, asked.split), found)


@dataclass
class Ranked:
    """Ranks (cases,) of the held-out items and the first ``LIST`` items (cases, LIST), -1 where there are fewer."""

    ranks: np.ndarray
    top: np.ndarray


@torch.inference_mode()
def rank(model: Ranker, histories: Histories, targets: np.ndarray, exclude_seen: bool) -> Ranked:
    """Rank the whole catalogue for each case."""
    items, bias = model.item_vectors(), model.item_bias()
    ranks, tops = [], []
    together = max(1, min(CHUNK, SCORES // len(items)))
    for start in range(0, len(histories), together):
        part = histories.take(slice(start, start + together))
        scores = (model.user_vectors(part) @ items.T + bias).cpu().numpy()
        seen = list(part.items) if exclude_seen else None
        ranks.append(ranks_of(scores, targets[start : start + together], seen))
        if seen is not None:
            rows, places = np.nonzero(part.items >= 0)
            scores[rows, part.items[rows, places]] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :LIST]
        tops.append(np.where(np.isfinite(np.take_along_axis(scores, best, 1)), best, -1))
    return Ranked(np.concatenate(ranks), np.concatenate(tops))


def answered(run: Run, name: str, cases: int, answer: Callable[[], Ranked]) -> Ranked:
    """``answer()``, logged as a touch of the test split and kept; what an earlier sitting kept is not asked for again.

    Args:
        name: of who answers: before, after, …
        cases: how many there are.
    """
    path = run.folder / f"answers_{name.replace(' ', '_')}.parquet"
    if path.exists():
        table = pq.read_table(path)
        return Ranked(table["rank"].to_numpy(), np.array(table["top"].to_pylist(), dtype=np.int64))
    run.log(f"test split read: {name}, {cases} cases")
    found = answer()
    write_atomic(path, _parquet(pa.table({"rank": found.ranks, "top": list(found.top)})))
    return found


def measured(
    recipe: Recipe, shop: Shop, model: Recommender, answers: dict[str, Ranked], test: Histories
) -> tuple[RankingMeasured, list[str]]:
    """The model, the one before and what simpler methods reach on the same cases; and what was chosen for those."""
    inter, splits, asked = shop.inter, shop.splits, recipe.recommender
    assert asked is not None
    targets, ranks, tops = inter.item[splits.test], {}, {}
    for name, found in answers.items():
        ranks[name], tops[name] = found.ranks, found.top
    notes = []
    content = _content(model)
    if recipe.evaluation.baselines:
        check = baselines.Check(
            shop.histories(splits.validation, asked.history, "validation"), inter.item[splits.validation]
        )
        simple = {
            "most popular": baselines.most_popular(inter, splits, check),
            "item neighbours": baselines.item_neighbours(inter, splits, check),
            "matrix factorisation": baselines.matrix_factorisation(inter, splits, check),
        }
        if content is not None:
            simple["content neighbours"] = baselines.content_neighbours(content, check)
            simple["popular attributes"] = baselines.popular_attributes(inter, splits, check)
        for name, method in simple.items():
            scores = method.scores(test)
            ranks[name] = np.where(np.isneginf(scores[np.arange(len(targets)), targets]), NEVER, 0)
            ranks[name] = np.where(ranks[name] == NEVER, NEVER, ranks_of(scores, targets))
            tops[name] = np.argsort(-scores, axis=1, kind="stable")[:, :LIST]
            notes.append(method.note(name))
    cases = RankingMeasured(
        ranks=ranks,
        top=tops,
        users=inter.user[splits.test],
        targets=targets,
        groups=_groups(shop, test),
        popularity=shop.popularity,
        content=content,
    )
    return cases, notes


def _content(model: Recommender) -> np.ndarray | None:
    """(items, width) of all fixed inputs side by side, each of length about one; None where items have none."""
    parts = [part for _, part in model.tower.parts.items() if part.values.dim() == 2]
    if not parts:
        return None
    return torch.cat([part.values / part.values.shape[1] ** 0.5 for part in parts], 1).numpy()


def _groups(shop: Shop, test: Histories) -> dict[str, list[Any]]:
    """Test cases by how much is known of the user, and by the users' own categories and ages."""
    found: dict[str, list[Any]] = {"activity": activity((test.items >= 0).sum(1))}
    users = shop.inter.users
    for name, kind in users.inputs.items():
        cells = [users.cells[name][int(user)] for user in shop.inter.user[shop.splits.test]]
        if kind == "number":
            cells = [None if c is None else f"{10 * int(float(c) // 10)}–{10 * int(float(c) // 10) + 9}" for c in cells]
        if kind in ("number", "category") and 1 < len(set(cells)) <= GROUPED:
            found[name] = cells
    return found


def prediction_table(shop: Shop, answers: dict[str, Ranked]) -> bytes:
    """``predictions.parquet``: a row a test case."""
    inter, cases = shop.inter, shop.splits.test
    names = inter.items.names
    after = answers["after"]
    table = pa.table(
        {
            "user": [inter.users.names[user] for user in inter.user[cases]],
            "target": [names[item] for item in inter.item[cases]],
            "rank_before": answers["before"].ranks,
            "rank_after": after.ranks,
            "top": [[names[item] for item in row if item >= 0] for row in after.top],
        }
    )
    return _parquet(table)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
