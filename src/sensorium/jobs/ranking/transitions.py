"""What follows what, beside the GPT: fitted on training interactions, its settings and weight chosen on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.data.interactions.arrays import Histories, Interactions, InteractionSplits
from sensorium.data.interactions.splits import history_of
from sensorium.metrics.ranking import accuracy_at, ranks_of
from sensorium.models.ranking.recommender import Recommender
from sensorium.models.ranking.transitions import decayed, fit_transitions
from sensorium.recipe import RecommenderRecipe

MOST_ITEMS = 10_000  # two matrices of that size squared are held while they are fitted
DECAYS, RIDGES = (0.8, 0.9, 0.95), (30.0, 100.0, 300.0, 1000.0)
WEIGHTS = (1.0, 3.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 1000.0, 3000.0)
CASES = 2000  # validation cases to choose on, at the most


def choose_transitions(
    model: Recommender, inter: Interactions, splits: InteractionSplits, recipe: RecommenderRecipe, progress: Any
) -> dict[str, float]:
    """Give ``model`` the transitions that help it most on validation, if any do; what was chosen."""
    items = len(inter.items)
    if recipe.transitions == "never" or (recipe.transitions == "auto" and items > MOST_ITEMS):
        return {}
    cases = splits.validation[:: -(-len(splits.validation) // CASES)]
    histories, targets = history_of(inter, splits, cases, recipe.history, "validation"), inter.item[cases]
    seen = list(histories.items) if recipe.exclude_seen else None
    user, item = inter.user[splits.train], inter.item[splits.train]
    own = (model.user_vectors(histories) @ model.item_vectors().T).cpu().numpy()

    def value(scores: np.ndarray) -> float:
        return float(accuracy_at(ranks_of(scores, targets, seen), 10)["ndcg"].mean())

    best: dict[str, float] = {"weight": 0.0, "validation ndcg@10": value(own)}
    matrix = None
    grid = [(decay, ridge) for decay in DECAYS for ridge in RIDGES]
    with progress.task("what follows what", len(grid), unit="settings") as advance:
        for decay, ridge in grid:
            found = fit_transitions(user, item, items, decay, ridge)
            beside = decayed(histories.items, items, decay) @ found
            for weight in WEIGHTS:
                reached = value(own + weight * beside)
                if reached > best["validation ndcg@10"]:
                    best = {"weight": weight, "decay": decay, "ridge": ridge, "validation ndcg@10": reached}
                    matrix = found
            advance(1)
    if matrix is not None:
        model.take_transitions(matrix, best["decay"], best["weight"])
    return best


@dataclass
class GptAlone:
    """The model without its transitions, as a ranker."""

    model: Recommender

    def item_vectors(self, without: frozenset[str] = frozenset()) -> Tensor:
        return self.model.item_vectors(without | {"transitions"})

    def item_bias(self) -> Tensor:
        return self.model.item_bias()

    def user_vectors(self, histories: Histories, without: frozenset[str] = frozenset()) -> Tensor:
        return self.model.user_vectors(histories, without | {"transitions"})


@dataclass
class TransitionsAlone:
    """The model's transitions without the GPT, as a ranker: what the simpler method reaches."""

    model: Recommender

    def item_vectors(self, without: frozenset[str] = frozenset()) -> Tensor:
        return self.model.transitions.T

    def item_bias(self) -> Tensor:
        return self.model.item_bias()

    def user_vectors(self, histories: Histories, without: frozenset[str] = frozenset()) -> Tensor:
        return torch.from_numpy(decayed(histories.items, self.model.config.items, self.model.config.decay))
