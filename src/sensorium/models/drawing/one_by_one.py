"""Drawing one code after another, row by row from the top left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sensorium.models.drawing.drawing_gpt import DrawingGPT
from sensorium.models.drawing.guidance import DrawingSettings, both_halves, guided, pick, uniforms
from sensorium.models.drawing.reading import Reading
from sensorium.models.drawing.sequences import DrawingSequence, draw, edit


@torch.inference_mode()
def one_by_one(
    model: DrawingGPT,
    prompts: Sequence[Sequence[int]],
    settings: DrawingSettings,
    seeds: Sequence[tuple[int, int]],
    sources: Tensor | None = None,
) -> Tensor:
    """Codes (n, places).

    Args:
        prompts: word ids of each picture; seeds: of each, and its number among the candidates.
        sources: (n, places) the pictures that are edited; None: there are none.
    """
    vocabulary = model.vocabulary

    def begun(words: Sequence[int], i: int) -> DrawingSequence:
        return draw(vocabulary, words, []) if sources is None else edit(vocabulary, sources[i].cpu().numpy(), words, [])

    reading = Reading(model, both_halves(prompts, settings, begun))
    drawn = uniforms(seeds, vocabulary.places)
    states, codes = reading.last, []
    for place in range(vocabulary.places):
        codes.append(pick(guided(model.code_logits(states), settings), settings, drawn[:, place]))
        if place + 1 < vocabulary.places:
            ids = (codes[-1] + vocabulary.words).repeat(settings.halves)
            states = reading.step(ids, torch.full_like(ids, place))
    return torch.stack(codes, 1)
