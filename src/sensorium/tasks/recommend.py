"""Recommending: every prefix of a user's history predicts the item that comes next."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.data.interactions.arrays import Histories, Interactions, KnowledgeGraph
from sensorium.models.ranking.inputs import Sequences
from sensorium.models.ranking.recommender import Read
from sensorium.objectives.catalogue_softmax import full_softmax, log_weights_of, sampled_softmax
from sensorium.objectives.knowledge import LOSSES
from sensorium.recipe import RecommenderRecipe
from sensorium.tasks.answers import Loss

TRIPLES = 512  # of the knowledge graph, a micro-batch


@dataclass
class RecommendBatch:
    """What a step runs on.

    Attributes:
        rows: users, as the training table knows them.
        sequences: what is read; supervised: (users, steps + 1) bool; targets: (n,) places among ``candidates``, in the
            order of the supervised positions.
        candidates: (candidates,) items; log_weights: (candidates,) for sampled softmax, None for the full one.
        triples: (k, 4) head, relation, tail, wrong tail; None without a knowledge graph.
    """

    rows: list[int]
    sequences: Sequences
    supervised: Tensor
    targets: Tensor
    candidates: Tensor
    log_weights: Tensor | None = None
    triples: Tensor | None = None

    def to(self, device: torch.device | str) -> RecommendBatch:
        """The batch with every tensor on ``device``."""

        def moved(part: Any) -> dict[str, Any]:
            found = {one.name: getattr(part, one.name) for one in fields(part)}
            return {name: value.to(device) for name, value in found.items() if isinstance(value, Tensor)}

        return replace(self, sequences=replace(self.sequences, **moved(self.sequences)), **moved(self))


@dataclass
class Window:
    """A stretch of one user's training interactions, and where it began."""

    user: int
    first: int
    rows: np.ndarray
    draw: tuple[int, int, int]


class Windows:
    """A unit is a user; ``windows[(epoch, unit)]`` a stretch of at most ``history`` + 1 of the user's interactions.

    Args:
        train: indices of training interactions, sorted by (user, time).
    """

    def __init__(self, inter: Interactions, train: np.ndarray, history: int, seed: int) -> None:
        self.history, self.seed, self.train = history, seed, train
        self.users, self.starts, self.lengths = np.unique(inter.user[train], return_index=True, return_counts=True)

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, key: tuple[int, int]) -> Window:
        epoch, unit = key
        length, first = int(self.lengths[unit]), 0
        if length > self.history + 1:
            first = int(np.random.default_rng([self.seed, epoch, unit]).integers(length - self.history))
        start = self.starts[unit] + first
        rows = self.train[start : start + min(length - first, self.history + 1)]
        return Window(int(self.users[unit]), first, rows, (self.seed, epoch, unit))


@dataclass
class Recommend:
    """The task: what a batch is, and its loss.

    Args:
        known: (items,) bool: items that training holds; the softmax is over these.
        chances: (items,) share of each among training interactions.
    """

    inter: Interactions
    recipe: RecommenderRecipe
    known: np.ndarray
    chances: np.ndarray

    name = "recommend"
    measure = ("ndcg@10", True)

    def collate(self, windows: list[Window]) -> RecommendBatch:
        """One batch; negatives and triples are drawn by (seed, epoch, unit) of the first window."""
        inter, steps = self.inter, max(max(len(window.rows) for window in windows) - 1, 1)
        shape = (len(windows), steps)
        items, gaps, ratings = np.full(shape, -1), np.zeros(shape, np.float32), np.full(shape, np.nan, np.float32)
        said, reviews = (None, None) if inter.reviews is None else (inter.said[1], np.full(shape, -1))
        supervised, wanted = np.zeros((len(windows), steps + 1), bool), []
        for i, window in enumerate(windows):
            rows, read = window.rows, window.rows[:-1]
            if len(read):
                items[i, -len(read) :] = inter.item[read]
                ratings[i, -len(read) :] = inter.rating[read]
                gaps[i, -len(read) :] = np.diff(inter.time[read], prepend=inter.time[read[0]])
                supervised[i, -len(read) :] = True
                if said is not None and reviews is not None:  # of what was read alone: never what is asked for
                    reviews[i, -len(read) :] = said[read]
            if window.first == 0:  # what comes first of all is foretold from the user alone
                supervised[i, 0] = True
            wanted.append(inter.item[rows if window.first == 0 else rows[1:]])
        asked = np.concatenate(wanted)
        rng = np.random.default_rng([*windows[0].draw, 1])
        candidates, weights = self._candidates(asked, rng)
        users = np.array([window.user for window in windows])
        return RecommendBatch(
            rows=users.tolist(),
            sequences=Sequences.of(Histories(items, gaps, ratings, users, reviews)),
            supervised=torch.from_numpy(supervised),
            targets=torch.from_numpy(np.searchsorted(candidates, asked)),
            candidates=torch.from_numpy(candidates),
            log_weights=weights,
            triples=self._triples(rng),
        )

    def loss(self, model: Any, batch: RecommendBatch) -> Loss:
        """Negative log-likelihood of the next items, plus the weighted loss of the triples, per supervised item."""
        read: Read = model(batch.sequences, batch.supervised, batch.candidates, batch.triples)
        count = len(batch.targets)
        if batch.log_weights is None:
            total = full_softmax(read.users, read.items, None, batch.targets)
        else:
            total = sampled_softmax(read.users, read.items, None, batch.targets, batch.log_weights)
        if read.triples:
            triples = LOSSES[self.recipe.knowledge](*read.triples) / len(read.triples[0])
            total = total + self.recipe.knowledge_weight * count * triples
        return Loss(total, count)

    @cached_property
    def _catalogue(self) -> np.ndarray:
        """Items that training holds, found once: it takes as long as the catalogue is."""
        return np.flatnonzero(self.known)

    def _candidates(self, asked: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Tensor | None]:
        """Items to score, sorted: all known ones, or the batch's targets and uniform negatives with log weights."""
        known = self._catalogue
        if self.recipe.loss == "full":
            return known, None
        drawn = np.concatenate([asked, known[rng.integers(len(known), size=self.recipe.negatives)]])
        candidates, counts = np.unique(drawn, return_counts=True)
        expected = len(asked) * self.chances[candidates] + self.recipe.negatives / len(known)
        return candidates, log_weights_of(torch.from_numpy(counts), torch.from_numpy(expected))

    def _triples(self, rng: np.random.Generator) -> Tensor | None:
        graph: KnowledgeGraph | None = self.inter.knowledge
        if self.recipe.knowledge == "none" or graph is None or not len(graph.triples):
            return None
        chosen = graph.triples[rng.integers(len(graph.triples), size=min(TRIPLES, len(graph.triples)))]
        wrong = rng.integers(len(graph.entities), size=len(chosen))
        return torch.from_numpy(np.column_stack([chosen, wrong]))
