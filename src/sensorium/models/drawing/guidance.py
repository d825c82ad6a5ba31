"""How codes are chosen from logits: guidance, temperature, top-k, top-p, and chance that belongs to a picture alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.models.decoding import filtered, generator
from sensorium.models.drawing.sequences import DrawingSequence


@dataclass(frozen=True)
class DrawingSettings:
    """How to draw.

    Attributes:
        temperature: 0 takes the likeliest code; else logits are divided by it and drawn from.
        top_k, top_p: keep the likeliest codes, at most ``top_k`` (0: all), that together reach ``top_p``.
        guidance: g in logits without words + g * (with - without) (Ho & Salimans 2022); 1: none; 0: words are unread.
        parallel: hidden codes all at once, the surest kept, in ``steps`` rounds; else one code after another.
        choice_temperature: parallel: noise on what is surest, less each round (MaskGIT, Chang et al. 2022).
        candidates: pictures drawn for each that is asked for; the model's own reading of them chooses.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 3.0
    parallel: bool = False
    steps: int = 8
    choice_temperature: float = 4.5
    candidates: int = 1

    @property
    def halves(self) -> int:
        """Times that each picture stands in a batch: with its words, without them, or both."""
        return 1 if self.guidance in (0.0, 1.0) else 2


def both_halves(
    prompts: Sequence[Sequence[int]], settings: DrawingSettings, begun: Callable[[Sequence[int], int], DrawingSequence]
) -> list[DrawingSequence]:
    """The sequences that guidance compares: ``begun(words, row)`` with words for each row, then without any."""
    there = [] if settings.guidance == 0 else [begun(words, i) for i, words in enumerate(prompts)]
    return there if settings.guidance == 1 else there + [begun([], i) for i in range(len(prompts))]


def guided(logits: Tensor, settings: DrawingSettings) -> Tensor:
    """Logits (halves * n, …), those with words first -> (n, …)."""
    if settings.halves == 1:
        return logits
    words, without = logits.chunk(2)
    return without + settings.guidance * (words - without)


def uniforms(seeds: Sequence[tuple[int, int]], *shape: int) -> Tensor:
    """(pictures, *shape) numbers in [0, 1), float64: a picture's from its own (seed, number) alone."""
    drawn = [torch.rand(shape, generator=generator(*seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(drawn) if drawn else torch.zeros(0, *shape, dtype=torch.float64)


def pick(logits: Tensor, settings: DrawingSettings, uniform: Tensor) -> Tensor:
    """A code for each row of logits (rows, codes): where ``uniform`` (rows,) falls among the codes' chances, (rows,)."""
    if settings.temperature <= 0:
        return logits.argmax(-1)
    chances = filtered(logits / settings.temperature, settings.top_k, settings.top_p).softmax(-1)
    reached = chances.cpu().double().cumsum(-1)
    found = torch.searchsorted(reached, uniform[:, None] * reached[:, -1:], right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1).to(logits.device)
