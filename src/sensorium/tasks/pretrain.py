"""Pretraining: objectives, each with a batch of its own, weighted and added up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.data.collate import Batch, MediaItem, Sequence, collate
from sensorium.data.text.infilling import Infilled
from sensorium.data.text.masking import Hidden
from sensorium.data.text.packing import Window
from sensorium.errors import RecipeError
from sensorium.models.language.pretraining import MEDIA, Aligned, Matched
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
    "encoder_decoder": (),
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
            why = "would see the token that it should foretell" if carried else "learns by translating alone"
            raise RecipeError(
                f"{architecture} cannot carry {name}: it {why}",
                where="pretraining.objectives",
                mend=f"{name} goes with {able}" + (f"; {architecture} carries {', '.join(carried)}" if carried else ""),
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
    """One training unit: a sequence for each objective; contrastive and matching share the one called media."""

    unit: int
    sequences: dict[str, Sequence]


@dataclass
class Pretrain:
    """The task.

    Args:
        weights: objective: weight; pad_id: token that fills up shorter sequences.
        shares: part of a batch: sequences that a unit has of it, on average; 1 where it is not named.
    """

    weights: Mapping[str, float]
    pad_id: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)

    name = "pretrain"
    measure = ("loss", False)

    def collate(self, items: list[Item]) -> PretrainBatch:
        """One batch for each objective that some item holds."""
        parts: dict[str, list[Sequence]] = {}
        for item in items:
            for name, sequence in item.sequences.items():
                parts.setdefault(name, []).append(sequence)
        made = {name: collate(parts[name], self.pad_id) for name in sorted(parts)}
        return PretrainBatch([item.unit for item in items], made)

    def loss(self, model: Any, batch: PretrainBatch) -> Loss:
        """One objective: its sum and count. Several: the weighted sum of their means, counted once a unit.

        Where a part has more or fewer sequences than its share of the units promises, its mean weighs more or less: over
        an epoch each objective has its own weight, however small its part.
        """
        losses = self.losses(model, batch)
        if len(self.weights) == 1:
            (name,) = losses
            return Loss(self.weights[name] * losses[name].total, losses[name].count)
        units, total = len(batch.rows), []
        for name, loss in losses.items():
            part = MEDIA if name in WITH_MEDIA else name
            drawn = len(batch.parts[part].input_ids) / (units * self.shares.get(part, 1.0))
            total.append(self.weights[name] * drawn * loss.total / max(loss.count, 1))
        return Loss(torch.stack(total).sum() * units, units)

    def losses(self, model: Any, batch: PretrainBatch) -> dict[str, Loss]:
        """Each objective's own sum and count."""
        hard = "contrastive" in self.weights

        def pair_up(vectors: Aligned, groups: Tensor) -> Pairs:
            return pairs(similarities(vectors.texts, vectors.media, vectors.log_scale), groups, hard=hard)

        outputs: Mapping[str, Any] = model(batch.parts, pair_up)
        shared = batch.parts.get(MEDIA)
        return {name: _loss(name, output, batch.parts.get(name, shared)) for name, output in outputs.items()}


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


def foretelling(window: Window, unit: int) -> Sequence:
    """Every token foretold from those before it in its document."""
    return _packed(window, window.ids, window.sources, window.ids[window.sources + 1], unit)


def naming(window: Window, hidden: Hidden, unit: int) -> Sequence:
    """Hidden tokens named where they stand, from both sides."""
    return _packed(window, hidden.ids, hidden.places, hidden.answers, unit)


def filling(parts: list[Infilled], room: int, unit: int) -> Sequence:
    """Hidden spans foretold at the end of their documents; documents beyond ``room`` tokens are left out."""
    lengths = np.cumsum([len(part.ids) for part in parts])
    kept = parts[: max(1, int((lengths <= room).sum()))]
    starts = np.concatenate([[0], lengths])[: len(kept)]
    branches = np.repeat(np.arange(len(kept)), [len(part.ids) for part in kept])
    window = Window(
        np.concatenate([part.ids for part in kept]),
        np.concatenate([np.arange(len(part.ids)) for part in kept]),
        branches,
        np.arange(len(kept)),
    )
    sources = np.concatenate([start + part.sources for start, part in zip(starts, kept)])
    return _packed(window, window.ids, sources, window.ids[sources + 1], unit)


def following(first: np.ndarray, second: np.ndarray, follows: bool, causal: bool, row: int) -> Sequence:
    """A pair of sentences (tokens,): judged as a whole; on a causal model the second foretold from the first.

    Args:
        first, second: with the tokens that begin and end them.
        follows: whether the second does follow.
    """
    ids = np.concatenate([first, second])
    sources = np.arange(len(first) - 1, len(ids) - 1) if causal else np.zeros(0, dtype=np.int64)
    return Sequence(
        ids=ids.tolist(),
        positions=list(range(len(ids))),
        branches=[0] * len(first) + [1] * len(second),
        parents=[-1, 0],
        media=[],
        rows=[row],
        sources=sources.tolist(),
        answers=ids[sources + 1].tolist(),
        owners=[0] * len(sources),
        answers_count=1,
        targets=[float(follows)],
    )


def captioned(ids: np.ndarray, features: Tensor, column: str, group: int, row: int) -> Sequence:
    """A text (tokens,) beside features (1, width) of its medium; texts of one group are alike."""
    return Sequence(
        ids=ids.tolist(),
        positions=list(range(len(ids))),
        branches=[0] * len(ids),
        parents=[-1],
        media=[MediaItem(column, features, 1, cached=True)],
        rows=[row],
        targets=[float(group)],
    )


def _packed(window: Window, ids: np.ndarray, sources: np.ndarray, answers: np.ndarray, unit: int) -> Sequence:
    count = len(window.documents)
    return Sequence(
        ids=ids.tolist(),
        positions=window.positions.tolist(),
        branches=window.branches.tolist(),
        parents=[-1] * count,
        media=[],
        rows=[unit],
        sources=sources.tolist(),
        answers=answers.tolist(),
        owners=window.branches[sources].tolist(),
        answers_count=count,
    )
