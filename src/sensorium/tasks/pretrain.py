"""Pretraining: objectives, each with a batch of its own, weighted and added up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.data.collate import Batch, Sequence, collate
from sensorium.errors import RecipeError
from sensorium.models.pretraining import Aligned, Matched
from sensorium.objectives.causal_lm import token_loss
from sensorium.objectives.contrastive import contrastive_loss, similarities
from sensorium.objectives.masked_lm import masked_lm_loss
from sensorium.objectives.matching import Pairs, matching_loss, pairs
from sensorium.objectives.next_sentence import next_sentence_likelihood, next_sentence_loss
from sensorium.recipe import PretrainingRecipe
from sensorium.tasks.answers import Loss

CAUSAL = ("causal_lm", "masked_lm", "next_sentence", "contrastive", "matching")
CARRIES = {
    "gpt2": CAUSAL,
    "llama": CAUSAL,
    "bert": ("masked_lm", "next_sentence", "contrastive", "matching"),
}
WITH_MEDIA = ("contrastive", "matching")


def check_objectives(recipe: PretrainingRecipe, architecture: str) -> None:
    """RecipeError where an architecture cannot carry an objective; it names those that can, and what it can.

    Args:
        architecture: of ``model.scratch``, or the model type of a pretrained one; unknown ones are causal.
    """
    carried = CARRIES.get(architecture, CAUSAL)
    for name in recipe.objectives:
        if name not in carried:
            able = ", ".join(one for one, objectives in CARRIES.items() if name in objectives)
            raise RecipeError(
                f"{architecture} cannot carry {name}: it reads both ways and would see the token it should foretell",
                where="pretraining.objectives",
                mend=f"{architecture} carries {', '.join(carried)}; {name} goes with {able}",
            )


@dataclass
class PretrainBatch:
    """A batch for each objective; ``rows`` are the training units in it."""

    rows: list[int]
    parts: dict[str, Batch]

    def to(self, device: torch.device | str) -> PretrainBatch:
        """The batch with every tensor on ``device``."""
        return replace(self, parts={name: part.to(device) for name, part in self.parts.items()})


@dataclass
class Item:
    """One training unit: a sequence for each objective."""

    unit: int
    sequences: dict[str, Sequence]


@dataclass
class Pretrain:
    """The task.

    Args:
        pad_id: token that fills up shorter sequences.
    """

    recipe: PretrainingRecipe
    pad_id: int = 0

    name = "pretrain"
    measure = ("loss", False)

    def collate(self, items: list[Item]) -> PretrainBatch:
        """One batch for each objective that the items hold."""
        names = items[0].sequences
        parts = {name: collate([item.sequences[name] for item in items], self.pad_id) for name in names}
        return PretrainBatch([item.unit for item in items], parts)

    def loss(self, model: Any, batch: PretrainBatch) -> Loss:
        """One objective: its sum and count. Several: the weighted sum of their means, counted once a unit."""
        losses = self.losses(model, batch)
        if len(losses) == 1:
            (name,) = losses
            return Loss(self.recipe.objectives[name] * losses[name].total, losses[name].count)
        mean = torch.stack(
            [self.recipe.objectives[name] * loss.total / max(loss.count, 1) for name, loss in losses.items()]
        ).sum()
        return Loss(mean * len(batch.rows), len(batch.rows))

    def losses(self, model: Any, batch: PretrainBatch) -> dict[str, Loss]:
        """Each objective's own sum and count."""
        hard = "contrastive" in self.recipe.objectives

        def pair_up(vectors: Aligned, groups: Tensor) -> Pairs:
            return pairs(similarities(vectors.texts, vectors.media, vectors.log_scale), groups, hard=hard)

        outputs: Mapping[str, Any] = model(batch.parts, pair_up)
        return {name: _loss(name, output, batch.parts.get(name)) for name, output in outputs.items()}


def _loss(name: str, output: Any, batch: Batch | None) -> Loss:
    if isinstance(output, Matched):
        return matching_loss(output.log_odds, output.matches)
    assert batch is not None
    if isinstance(output, Aligned):
        return contrastive_loss(output.texts, output.media, output.log_scale, batch.targets.long())
    if name == "next_sentence":
        if output.dim() == 1:
            return next_sentence_loss(output, batch.targets)
        return next_sentence_likelihood(output, batch.answers, len(batch.rows))
    return (masked_lm_loss if name == "masked_lm" else token_loss)(output, batch.answers)


# -- sequences -------------------------------------------------------------------------------------


def window_sequence(ids: np.ndarray, positions: np.ndarray, branches: np.ndarray, unit: int) -> Sequence:
    """A packed window (tokens,) in which every token is foretold from those before it in its document."""
    inside = np.flatnonzero(branches[1:] == branches[:-1])
    return Sequence(
        ids=ids.tolist(),
        positions=positions.tolist(),
        branches=branches.tolist(),
        parents=[-1] * (int(branches[-1]) + 1),
        media=[],
        rows=[unit],
        sources=inside.tolist(),
        answers=ids[inside + 1].tolist(),
        owners=branches[inside].tolist(),
        answers_count=int(branches[-1]) + 1,
    )
