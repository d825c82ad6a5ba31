"""What simpler methods reach on the same cases: popularity, neighbours, a matrix factorisation.

All learn from training interactions alone. A fitted method has ``scores(histories)``, (users, items) float32, computed a
chunk of users at a time; it reads who a user is from the history alone, so that it answers visitors as well. How many
neighbours or factors are used, and whether seen items are left out, is chosen by NDCG@10 on validation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sensorium.data.interactions.arrays import Entities, Histories, Interactions, InteractionSplits
from sensorium.metrics.ranking import accuracy_at, ranks_of

CHUNK = 1024  # users whose scores are made at a time
NEIGHBOURS = (20, 50, 100, 300)
FACTORS = (16, 32, 64, 128)
STEPS = 15  # alternations of the factorisation
LATEST = (5, 50, 200)  # of a history, for the content's mean
MAX_VALUES = 100  # of a column up to which equal values make a kind of item


class FittedBaseline(Protocol):
    """Something that scores all items for some histories."""

    def scores(self, histories: Histories) -> np.ndarray:
        """(users, items) float32, more is better."""
        ...


@dataclass(frozen=True)
class MostPopular:
    """One ranking for all: ``merit`` (items,) float32."""

    merit: np.ndarray

    def scores(self, histories: Histories) -> np.ndarray:
        return np.broadcast_to(self.merit, (len(histories), len(self.merit))).copy()


@dataclass(frozen=True)
class ItemNeighbours:
    """Sums of similarities to the items of the history; ``similarity`` (items, items), sparse."""

    similarity: Any

    def scores(self, histories: Histories) -> np.ndarray:
        rows = _rows(histories, self.similarity.shape[0])
        return _chunked(len(histories), lambda part: (rows[part] @ self.similarity).toarray())


@dataclass(frozen=True)
class Factorised:
    """Products of item factors with user factors that are solved anew from the history (``implicit``'s ALS)."""

    model: Any
    items: int

    def scores(self, histories: Histories) -> np.ndarray:
        rows = _rows(histories, self.items)

        def part_scores(part: slice) -> np.ndarray:
            some = rows[part]
            users = np.arange(some.shape[0])
            return np.asarray(self.model.recalculate_user(users, some) @ self.model.item_factors.T)

        return _chunked(len(histories), part_scores)


@dataclass(frozen=True)
class ContentNeighbours:
    """Cosine between the mean content of the ``latest`` items of the history and each item.

    ``unit``: (items, width) float32 content vectors of length 1, or 0 where an item has none.
    """

    unit: np.ndarray
    latest: int

    def scores(self, histories: Histories) -> np.ndarray:
        def part_scores(part: slice) -> np.ndarray:
            items = histories.items[part, -self.latest :]
            mean = np.where((items >= 0)[:, :, None], self.unit[items], 0.0).sum(1)
            return _unit(mean) @ self.unit.T

        return _chunked(len(histories), part_scores, size=128)


@dataclass(frozen=True)
class Baseline:
    """A fitted method, what was chosen for it, and its NDCG@10 on validation (None where nothing was to choose).

    ``leave_out_seen``: whether items of the history come last.
    """

    fitted: FittedBaseline
    chosen: dict[str, Any] = field(default_factory=dict)
    validated: float | None = None
    leave_out_seen: bool = False

    def scores(self, histories: Histories) -> np.ndarray:
        """(users, items) float32, -inf where an item is left out."""
        found = self.fitted.scores(histories)
        if self.leave_out_seen:
            found[_seen(histories)] = -np.inf
        return found

    def note(self, name: str) -> str:
        """One sentence for the notes of ``metrics.json``, "" where nothing was chosen."""
        said = [f"{key} {value}" for key, value in self.chosen.items()]
        if self.validated is None:
            return ""
        said.append("seen items left out" if self.leave_out_seen else "seen items in the running")
        return f"Baseline {name.replace('_', ' ')}: {', '.join(said)}, chosen on validation."


@dataclass(frozen=True)
class Check:
    """Validation cases to choose on: the ``histories`` of each and its item to be found, ``targets`` (cases,)."""

    histories: Histories
    targets: np.ndarray


def most_popular(inter: Interactions, splits: InteractionSplits, check: Check | None = None) -> Baseline:
    """The items with most training interactions first."""
    return _fixed(MostPopular(popularity(inter, splits).astype(np.float32)), check)


def item_neighbours(
    inter: Interactions, splits: InteractionSplits, check: Check, neighbours: Sequence[int] = NEIGHBOURS
) -> Baseline:
    """Cosine of the columns of the user–item matrix (Sarwar et al. 2001), each item's nearest kept.

    Args:
        neighbours: how many to try.
    """
    similarity = _cosine(_matrix(inter, splits))
    return _chosen("neighbours", neighbours, lambda k: ItemNeighbours(_nearest(similarity, k)), check)


def matrix_factorisation(
    inter: Interactions, splits: InteractionSplits, check: Check, factors: Sequence[int] = FACTORS, seed: int = 0
) -> Baseline:
    """Implicit-feedback alternating least squares (Hu, Koren & Volinsky 2008) by the library ``implicit``.

    Args:
        factors: widths to try; seed: of the first factors.
    """
    from implicit.cpu.als import AlternatingLeastSquares

    matrix = _matrix(inter, splits)

    def fit(width: int) -> FittedBaseline:
        model = AlternatingLeastSquares(factors=width, iterations=STEPS, random_state=seed)
        model.fit(matrix, show_progress=False)
        return Factorised(model, len(inter.items))

    return _chosen("factors", factors, fit, check)


def content_neighbours(content: np.ndarray, check: Check, latest: Sequence[int] = LATEST) -> Baseline:
    """The items whose content is nearest to the mean of the history's; it needs no interactions with an item.

    Args:
        content: (items, width) vectors; zeros where an item has none.
        latest: lengths of the history to try.
    """
    unit = _unit(np.asarray(content, dtype=np.float32))
    return _chosen("latest items", latest, lambda n: ContentNeighbours(unit, n), check)


def popular_attributes(inter: Interactions, splits: InteractionSplits, check: Check | None = None) -> Baseline:
    """An item's merit is the mean popularity of the items that share its attributes' values.

    Attributes are as ``attributes`` finds them. Means are over the items that training may hold, then over an item's
    values. An item without any takes the mean of all.
    """
    counts = popularity(inter, splits).astype(np.float64)
    known = ~splits.cold if len(splits.cold) else np.ones(len(counts), dtype=bool)
    every = counts[known].mean() if known.any() else 0.0
    total, values = np.zeros(len(counts)), np.zeros(len(counts))
    for column in attributes(inter.items):
        members: dict[str, list[int]] = {}
        for item, cell in enumerate(column):
            for value in cell:
                members.setdefault(value, []).append(item)
        for items in members.values():
            those = np.array(items)
            taught = those[known[those]]
            total[those] += counts[taught].mean() if len(taught) else every
            values[those] += 1
    merit = np.divide(total, values, out=np.full(len(counts), every), where=values > 0)
    return _fixed(MostPopular(merit.astype(np.float32)), check)


def popularity(inter: Interactions, splits: InteractionSplits) -> np.ndarray:
    """(items,) training interactions of each."""
    return np.bincount(inter.item[splits.train], minlength=len(inter.items))


def attributes(items: Entities) -> list[list[list[str]]]:
    """The values of each column that says what kind an item is, a list an item.

    Those are categories, and texts (by their words) and numbers of at most ``MAX_VALUES`` distinct values.
    """
    found = []
    for name, kind in items.inputs.items():
        if kind not in ("category", "text", "number"):
            continue
        column = [_values(cell, words=kind == "text") for cell in items.cells[name]]
        if kind == "category" or len({value for cell in column for value in cell}) <= MAX_VALUES:
            found.append(column)
    return found


def _values(cell: Any, words: bool) -> list[str]:
    """Distinct values of a cell: those of a list, or of a text's parts between "|", ";" or ","."""
    if cell is None or cell != cell:
        return []
    if isinstance(cell, list | tuple):
        return sorted({str(value) for value in cell})
    parts = re.split(r"[|;,\s]+" if words else r"\s*[|;,]\s*", str(cell))
    return sorted(set(parts) - {""})


def _chosen(name: str, values: Sequence[int], fit: Callable[[int], FittedBaseline], check: Check) -> Baseline:
    """The value, and whether seen items are left out, with the best NDCG@10 on validation; the first among equals."""
    tried = [_fixed(fit(value), check, {name: value}) for value in values]
    return max(tried, key=lambda one: one.validated or 0.0)


def _fixed(fitted: FittedBaseline, check: Check | None, chosen: dict[str, Any] | None = None) -> Baseline:
    """Whether seen items are left out, by NDCG@10 on validation; they are not where there is nothing to check on."""
    if check is None or not len(check.targets):
        return Baseline(fitted, chosen or {})
    gains: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for part in parts(len(check.targets)):
        histories = check.histories.take(part)
        scores = fitted.scores(histories)
        for leave_out in gains:
            if leave_out:
                scores[_seen(histories)] = -np.inf
            gains[leave_out].append(accuracy_at(ranks_of(scores, check.targets[part]), 10)["ndcg"])
    reached = {leave_out: float(np.concatenate(gain).mean()) for leave_out, gain in gains.items()}
    best = reached[True] > reached[False]
    return Baseline(fitted, chosen or {}, reached[best], best)


def _matrix(inter: Interactions, splits: InteractionSplits) -> Any:
    """(users, items) CSR of ones where training holds an interaction."""
    from scipy.sparse import csr_matrix

    user, item = inter.user[splits.train], inter.item[splits.train]
    found = csr_matrix((np.ones(len(user), dtype=np.float32), (user, item)), (len(inter.users), len(inter.items)))
    found.data[:] = 1.0  # a repeated interaction says no more than one
    return found


def _cosine(matrix: Any) -> Any:
    """(items, items) CSR of cosines of the columns, without those of an item with itself."""
    from sklearn.preprocessing import normalize

    unit = normalize(matrix, axis=0)
    found = (unit.T @ unit).tocsr()
    found.setdiag(0.0)
    found.eliminate_zeros()
    return found


def _nearest(similarity: Any, k: int) -> Any:
    """The ``k`` largest of each row of ``similarity``, transposed: who votes for whom."""
    from scipy.sparse import csr_matrix

    rows, columns, data = [], [], []
    for row in range(similarity.shape[0]):
        start, end = similarity.indptr[row], similarity.indptr[row + 1]
        values = similarity.data[start:end]
        kept = np.arange(len(values)) if len(values) <= k else np.argpartition(-values, k - 1)[:k]
        rows.append(similarity.indices[start:end][kept])
        columns.append(np.full(len(kept), row))
        data.append(values[kept])
    return csr_matrix((np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))), similarity.shape)


def _rows(histories: Histories, items: int) -> Any:
    """(users, items) CSR of ones where a history holds an item."""
    from scipy.sparse import csr_matrix

    user, item = _seen(histories)
    found = csr_matrix((np.ones(len(user), dtype=np.float32), (user, item)), (len(histories), items))
    found.data[:] = 1.0
    return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def _seen(histories: Histories) -> tuple[np.ndarray, np.ndarray]:
    """Where a table (users, items) holds an item of the history."""
    user, step = np.nonzero(histories.items >= 0)
    return user, histories.items[user, step]


def parts(n: int, size: int = CHUNK) -> list[slice]:
    """Slices of at most ``size`` that make up n."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _chunked(n: int, score: Callable[[slice], np.ndarray], size: int = CHUNK) -> np.ndarray:
    found = [np.asarray(score(part), dtype=np.float32) for part in parts(n, size)]
    return np.concatenate(found) if found else np.zeros((0, 0), dtype=np.float32)
