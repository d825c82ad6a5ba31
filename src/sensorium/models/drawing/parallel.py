"""Drawing by MaskGIT's rounds (Chang et al. 2022): all hidden codes are foretold at once, the surest are kept.

After round t of T, a share of cos(π/2 · t/T) of the codes is still hidden. What is sure is the log-likelihood of the code
that was drawn, with Gumbel noise that ends with the last round. Codes that are given stay: that is inpainting where a
mask says which, and a variation where chance does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sensorium.models.decoding import generator
from sensorium.models.drawing.drawing_gpt import DrawingGPT
from sensorium.models.drawing.guidance import DrawingSettings, both_halves, guided, pick, uniforms
from sensorium.models.drawing.reading import Reading
from sensorium.models.drawing.sequences import DrawingSequence, masked
from sensorium.models.drawing.vocabulary import HIDDEN


@torch.inference_mode()
def in_parallel(
    model: DrawingGPT,
    prompts: Sequence[Sequence[int]],
    settings: DrawingSettings,
    seeds: Sequence[tuple[int, int]],
    sources: Tensor | None = None,
    kept: Tensor | None = None,
    keep_mask: Tensor | None = None,
) -> Tensor:
    """Codes (n, places).

    Args:
        prompts: word ids of each picture; seeds: of each, and its number among the candidates.
        sources: (n, places) the pictures that are edited; None: there are none.
        kept, keep_mask: (n, places) codes, and which of them stay as they are; None: none is given.
    """
    vocabulary, device = model.vocabulary, model.device
    nothing = np.zeros(0, dtype=bool)

    def begun(words: Sequence[int], i: int) -> DrawingSequence:
        return masked(vocabulary, words, [], nothing, None if sources is None else sources[i].cpu().numpy())

    shape = len(prompts), vocabulary.places
    codes = torch.zeros(shape, dtype=torch.long, device=device) if kept is None else kept.to(device, copy=True)
    known = (
        torch.zeros(shape, dtype=torch.bool, device=device) if keep_mask is None else keep_mask.to(device, copy=True)
    )
    asked = (~known).sum(1)
    reading = Reading(model, both_halves(prompts, settings, begun))
    drawn = uniforms(seeds, 2, settings.steps, vocabulary.places)
    places = torch.arange(vocabulary.places, device=device).expand(shape[0] * settings.halves, -1)
    for step in range(settings.steps):
        hidden = ~known
        ids = torch.where(known, codes + vocabulary.words, vocabulary.mark(HIDDEN)).repeat(settings.halves, 1)
        states = reading.look(ids, places)[hidden.repeat(settings.halves, 1)]
        logits = guided(model.code_logits(states), settings)
        on_cpu = hidden.cpu()
        codes[hidden] = pick(logits, settings, drawn[:, 0, step][on_cpu])
        sure = logits.log_softmax(-1).gather(-1, codes[hidden][:, None])[:, 0]
        if settings.temperature > 0:
            warmth = settings.choice_temperature * (1 - (step + 1) / settings.steps)
            sure = sure + warmth * gumbel(drawn[:, 1, step][on_cpu]).to(sure)
        surest = torch.full(shape, -torch.inf, device=device)
        surest[hidden] = sure
        taken = hidden.sum(1) - still_hidden(asked, hidden.sum(1), step, settings.steps)
        rank = surest.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        known = known | (hidden & (rank < taken[:, None]))
    return codes


def still_hidden(asked: Tensor, hidden: Tensor, step: int, steps: int) -> Tensor:
    """How many codes stay hidden after round ``step``, counted from 0: of ``asked`` at first and ``hidden`` now, (n,).

    Each round settles one at least; the last settles all.
    """
    share = math.cos(math.pi / 2 * (step + 1) / steps) if step + 1 < steps else 0.0
    return torch.minimum((asked * share).floor().long(), (hidden - 1).clamp(min=0))


def gumbel(uniform: Tensor) -> Tensor:
    """Numbers in [0, 1) to the Gumbel distribution: -log(-log u)."""
    return -(-(uniform.clamp(min=1e-20).log())).log()


def redrawn(places: int, strength: float, seeds: Sequence[int]) -> Tensor:
    """Which codes a variation keeps, (n, places) bool: all but a share ``strength`` of them, by each seed's own chance."""
    count = min(places, max(1, round(strength * places)))
    keep = torch.ones(len(seeds), places, dtype=torch.bool)
    for row, seed in zip(keep, seeds, strict=True):
        row[torch.randperm(places, generator=generator(seed))[:count]] = False
    return keep
