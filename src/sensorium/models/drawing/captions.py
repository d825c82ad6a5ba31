"""From pictures to words: captions, and how likely the model finds words for a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sensorium.models.decoding import DecodingSettings, generator
from sensorium.models.decoding import pick as pick_word
from sensorium.models.drawing.drawing_gpt import DrawingGPT
from sensorium.models.drawing.reading import Reading
from sensorium.models.drawing.sequences import DrawingSequence, batch_of, caption, draw, edit

TOGETHER = 64  # pictures that are read at once


@torch.inference_mode()
def caption_codes(
    model: DrawingGPT,
    codes: Tensor | None = None,
    features: Tensor | None = None,
    settings: DecodingSettings = DecodingSettings(),  # noqa: B008 (frozen)
) -> list[list[int]]:
    """Word ids of each picture, without the end; greedy by default, without beams.

    Args:
        codes: (n, places); features: (n, positions, feature width) of an image encoder; one of them at least.
        settings: of words; row i draws from (seed, i).
    """
    found: list[list[int]] = []
    count = _count(codes, features)
    for start in range(0, count, TOGETHER):
        rows = range(start, min(start + TOGETHER, count))
        found += _captions(model, [_caption(model, i, [], codes, features, False) for i in rows], settings, start)
    return found


def _captions(
    model: DrawingGPT, prompts: list[DrawingSequence], settings: DecodingSettings, first: int
) -> list[list[int]]:
    reading = Reading(model, prompts)
    generators = [generator(settings.seed, first + i) for i in range(len(prompts))]
    said: list[list[int]] = [[] for _ in prompts]
    going = torch.ones(len(prompts), dtype=torch.bool)
    end, states = model.vocabulary.words, reading.last
    for step in range(settings.max_new_tokens):
        words = pick_word(model.word_logits(states), settings, generators)
        going &= (words != end).cpu()
        for row in going.nonzero()[:, 0].tolist():
            said[row].append(int(words[row]))
        if not going.any() or step + 1 == settings.max_new_tokens:
            break
        states = reading.step(words.clamp(max=end - 1))  # what follows an end is not read
    return said


@torch.inference_mode()
def caption_log_likelihood(
    model: DrawingGPT, codes: Tensor | None, prompts: Sequence[Sequence[int]], features: Tensor | None = None
) -> Tensor:
    """log P of each picture's words, their end included: (n,) fp32. ``codes``, ``features``: see ``caption_codes``."""
    made = [_caption(model, i, words, codes, features, True) for i, words in enumerate(prompts)]
    return _log_likelihood(model, made)


@torch.inference_mode()
def picture_log_likelihood(
    model: DrawingGPT, codes: Tensor, prompts: Sequence[Sequence[int]], sources: Tensor | None = None
) -> Tensor:
    """log P of each picture's codes (n, places) given words, and the picture that was edited (n, places): (n,) fp32."""
    vocabulary, given = model.vocabulary, None if sources is None else sources.cpu().numpy()
    made = [
        draw(vocabulary, words, one) if given is None else edit(vocabulary, given[i], words, one)
        for i, (words, one) in enumerate(zip(prompts, codes.cpu().numpy(), strict=True))
    ]
    return _log_likelihood(model, made)


def evidence(
    model: DrawingGPT, codes: Tensor, prompts: Sequence[Sequence[int]], sources: Tensor | None = None
) -> Tensor:
    """log P(codes | words) - log P(codes), (n,): by Bayes' rule, how much likelier a picture makes its words.

    What ranks edits, where no caption says the instruction.
    """
    without: list[list[int]] = [[] for _ in prompts]
    return picture_log_likelihood(model, codes, prompts, sources) - picture_log_likelihood(
        model, codes, without, sources
    )


def _log_likelihood(model: DrawingGPT, made: Sequence[DrawingSequence]) -> Tensor:
    """The sum of log P over what each sequence teaches."""
    found = []
    for start in range(0, len(made), TOGETHER):
        batch = batch_of(made[start : start + TOGETHER], model.vocabulary).to(model.device)
        sums = torch.zeros(len(batch.ids), device=model.device)
        words, codes = model(batch)
        for logits, answers, rows in (
            (words, batch.word_answers, batch.word_rows),
            (codes, batch.code_answers, batch.code_rows),
        ):
            sums.index_add_(0, rows, logits.log_softmax(-1).gather(-1, answers[:, None])[:, 0])
        found.append(sums)
    return torch.cat(found) if found else torch.zeros(0)


def _count(codes: Tensor | None, features: Tensor | None) -> int:
    given = codes if codes is not None else features
    assert given is not None, "codes or features"
    return len(given)


def _caption(
    model: DrawingGPT, i: int, words: Sequence[int], codes: Tensor | None, features: Tensor | None, ended: bool
) -> DrawingSequence:
    own = None if codes is None else codes[i].cpu().numpy()
    return caption(model.vocabulary, words, own, None if features is None else features[i], ended=ended)
