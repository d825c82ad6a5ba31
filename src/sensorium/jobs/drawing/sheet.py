"""The sheet of a drawing run's report: what held-out prompts asked for, and what was drawn, failures included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from sensorium.evaluation.embed import Media
from sensorium.evaluation.picture_report import Sheet, Shown
from sensorium.jobs.drawing.lessons import Lesson
from sensorium.jobs.drawing.pictures import Pictures
from sensorium.jobs.prepare import Prepared
from sensorium.models.drawing.details import carried
from sensorium.models.drawing.drawing_gpt import DrawingGPT
from sensorium.models.drawing.guidance import DrawingSettings
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer
from sensorium.models.drawing.pixels import to_squares, to_tensor
from sensorium.models.drawing.sampling import TOGETHER, draw_candidates
from sensorium.recipe import DrawingRecipe

SHOWN = 64
EDITS = 32


def settings_of(asked: DrawingRecipe) -> DrawingSettings:
    """How a recipe wants pictures drawn."""
    return DrawingSettings(guidance=asked.guidance, temperature=asked.temperature)


def drawn_sheet(
    model: DrawingGPT,
    pictures: PictureTokenizer,
    prepared: Prepared,
    asked: DrawingRecipe,
    lessons: Sequence[Lesson],
    prompt: Callable[[Lesson], str],
    progress: Any,
) -> list[Sheet]:
    """Sheets of what the forms that were learnt make of test rows, taken at equal distances, each drawn once, seed 0."""
    settings = settings_of(asked)
    found = []
    for form, edited, most in (("draw", False, SHOWN), ("edit", True, EDITS)):
        mine = [one for one in lessons if (one.source is not None) is edited]
        if not mine or not asked.forms.get(form, 0) > 0:  # type: ignore[call-overload]
            continue
        chosen = [mine[int(i)] for i in np.linspace(0, len(mine) - 1, min(most, len(mine))).round()]
        right = Pictures(prepared, asked.picture, pictures.size)
        before = Pictures(prepared, str(asked.source), pictures.size)
        made: list[np.ndarray] = []
        with progress.task(f"drawing for the report ({form})", len(chosen), unit="pictures") as advance:
            for start in range(0, len(chosen), TOGETHER):
                some = chosen[start : start + TOGETHER]
                sources = (
                    torch.from_numpy(np.stack([one.source for one in some if one.source is not None]))
                    if edited
                    else None
                )
                codes = draw_candidates(model, [one.words for one in some], settings, [0] * len(some), sources).codes
                shown = pictures.decode(codes)
                if sources is not None:
                    was = to_tensor(torch.from_numpy(np.stack([before[one.row] for one in some])))
                    shown = carried(shown, was, pictures.decode(sources))
                made += list(to_squares(shown))
                advance(len(some))
        figures = []
        for one, drawn in zip(chosen, made, strict=True):
            pair = [("before", Media("image", before[one.row]))] if edited else []
            pair += [("drawn", Media("image", drawn)), ("real", Media("image", right[one.row]))]
            figures.append(Shown(prompt(one), pair))
        what = "Edits" if edited else "Drawings"
        lead = (
            f"{len(figures)} held-out prompts at equal distances in the table, none chosen by hand: one picture each, "
            f"seed 0, guidance {asked.guidance:g}, temperature {asked.temperature:g}. Beside it what is right."
        )
        found.append(Sheet(what, lead, figures))
    return found
