"""Drawing: from words, and pictures that are edited or partly kept, to codes; the best of several candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.models.drawing.captions import caption_log_likelihood, evidence
from sensorium.models.drawing.drawing_gpt import DrawingGPT
from sensorium.models.drawing.guidance import DrawingSettings
from sensorium.models.drawing.one_by_one import one_by_one
from sensorium.models.drawing.parallel import in_parallel

TOGETHER = 32  # pictures that are drawn at once


@dataclass
class DrawnCodes:
    """What was drawn for n prompts.

    Attributes:
        codes: (n, places), the best candidate of each; scores: (n,), its score, see ``scored``.
        candidates: (n, candidates, places); all_scores: (n, candidates).
    """

    codes: Tensor
    scores: Tensor
    candidates: Tensor
    all_scores: Tensor


def draw_candidates(
    model: DrawingGPT,
    prompts: Sequence[Sequence[int]],
    settings: DrawingSettings,
    seeds: Sequence[int],
    sources: Tensor | None = None,
    kept: Tensor | None = None,
    keep_mask: Tensor | None = None,
) -> DrawnCodes:
    """``settings.candidates`` pictures for each prompt, the best first chosen by the model's own reading of them.

    A picture depends on its own prompt and seed, not on the others of the call, up to the rounding of sums.

    Args:
        prompts: word ids, of at most ``model.room`` words.
        seeds: of each prompt; candidate j draws from (seed, j).
        sources: (n, places) codes of the pictures that are edited; None: there are none.
        kept, keep_mask: (n, places) codes, and which of them stay as they are. Then the others are drawn in parallel,
            since each must see what is kept behind it.
    """
    count, each = len(prompts), settings.candidates
    decode = in_parallel if settings.parallel or keep_mask is not None else one_by_one
    rows = [(i, j) for i in range(count) for j in range(each)]
    drawn, found = [], []
    for start in range(0, len(rows), TOGETHER):
        part = rows[start : start + TOGETHER]
        which = torch.tensor([i for i, _ in part])
        words = [prompts[i] for i, _ in part]
        given = None if sources is None else sources[which]
        more = {} if keep_mask is None or kept is None else {"kept": kept[which], "keep_mask": keep_mask[which]}
        codes = decode(model, words, settings, [(seeds[i], j) for i, j in part], given, **more)
        drawn.append(codes)
        found.append(scored(model, codes, words, given))
    places = model.vocabulary.places
    candidates = torch.cat(drawn).view(count, each, places) if drawn else torch.zeros(0, each, places).long()
    scores = torch.cat(found).view(count, each) if found else torch.zeros(0, each)
    best = scores.argmax(1) if count else torch.zeros(0, dtype=torch.long)
    at = torch.arange(count, device=best.device)
    return DrawnCodes(candidates[at, best], scores[at, best], candidates, scores)


@torch.inference_mode()
def scored(model: DrawingGPT, codes: Tensor, prompts: Sequence[Sequence[int]], sources: Tensor | None = None) -> Tensor:
    """How well the model finds that pictures (n, places) keep to their words, (n,).

    log P of the words as the picture's caption; for edits, whose words are no caption, the ``evidence`` for them.
    """
    if sources is None:
        return caption_log_likelihood(model, codes, prompts)
    return evidence(model, codes, prompts, sources)
