"""What a drawing GPT learns from, as sequences, and their batches.

Four forms, all over one ``Vocabulary``::

    draw      <words> w … <picture> c …                                   the codes are learnt
    caption   [<feature> …] [<picture> c …] <words> w … <end>             the words and the end
    edit      <source> c … <words> w … <picture> c …                      the last codes
    masked    [<source> c …] <words> w … <masked> c <hidden> c …          the hidden codes, each at its own place

Everything reads from left to right, but for the picture of the masked form: its codes see each other, all of them
(MaskGIT, Chang et al. 2022). No words between ``<words>`` and the picture is the prompt of classifier-free guidance
(Ho & Salimans 2022); see ``dropped``. Sequences of one batch are filled up at the right, where nothing real looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.models.drawing.vocabulary import END, FEATURE, HIDDEN, MASKED, PICTURE, SOURCE, WORDS, Vocabulary

FORMS = ("draw", "caption", "edit", "masked")
Ints = Sequence[int] | np.ndarray


@dataclass
class DrawingSequence:
    """One row. ``answers`` holds, at each token, the id that is predicted there; -1: none.

    Attributes:
        form: one of ``FORMS``.
        ids, answers: (tokens,) ids of the ``Vocabulary``.
        places: (tokens,) a code's place in its picture, row by row; -1 for other tokens.
        block: the first token of the picture whose codes all see each other, which ends the sequence; None: causal.
        features: (positions, width), what stands at the ``<feature>`` marks.
    """

    form: str
    ids: np.ndarray
    places: np.ndarray
    answers: np.ndarray
    block: int | None = None
    features: Tensor | None = None


@dataclass
class DrawingBatch:
    """Rows side by side; the tensors are what ``DrawingGPT`` runs on.

    Attributes:
        ids, places, positions: (batch, tokens); places -1 where there is none.
        visible: (batch, tokens, tokens) bool, [b, query, key]; None where every row is causal.
        word_sources, code_sources: places that predict, as indices into (batch * tokens).
        word_answers: word ids, or the vocabulary's ``words`` for the end; code_answers: codes from 0 on.
        features: (rows with features, positions, width) in the order of the rows; None without any.
        forms: of each row; rows: the table's row numbers.
    """

    ids: Tensor
    places: Tensor
    positions: Tensor
    visible: Tensor | None
    word_sources: Tensor
    word_answers: Tensor
    code_sources: Tensor
    code_answers: Tensor
    features: Tensor | None = None
    forms: tuple[str, ...] = ()
    rows: list[int] = field(default_factory=list)

    def to(self, device: Any, **options: Any) -> DrawingBatch:
        """The same on another device."""
        moved: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            moved[each.name] = value.to(device, **options) if isinstance(value, Tensor) else value
        return DrawingBatch(**moved)

    @property
    def word_rows(self) -> Tensor:
        """The batch row of each predicted word."""
        return self.word_sources // self.ids.shape[1]

    @property
    def code_rows(self) -> Tensor:
        """The batch row of each predicted code."""
        return self.code_sources // self.ids.shape[1]


# -- forms -----------------------------------------------------------------------------------------


def draw(vocabulary: Vocabulary, prompt: Ints, codes: Ints) -> DrawingSequence:
    """Words to a picture: ``prompt`` word ids, ``codes`` (places,), or its first ones."""
    return _made("draw", [_words(vocabulary, prompt), _picture(vocabulary, PICTURE, codes, learnt=True)])


def edit(vocabulary: Vocabulary, source: Ints, prompt: Ints, codes: Ints) -> DrawingSequence:
    """A picture and an instruction to a picture: ``source`` and ``codes`` (places,)."""
    parts = [_picture(vocabulary, SOURCE, source), _words(vocabulary, prompt)]
    return _made("edit", [*parts, _picture(vocabulary, PICTURE, codes, learnt=True)])


def caption(
    vocabulary: Vocabulary,
    words: Ints,
    codes: Ints | None = None,
    features: Tensor | None = None,
    *,
    ended: bool = True,
) -> DrawingSequence:
    """A picture to words: its codes (places,), an image encoder's features (positions, width), or both.

    Args:
        ended: whether the words come to their end here, which is learnt too.
    """
    parts = []
    if features is not None:
        marks = np.full(len(features), vocabulary.mark(FEATURE))
        parts.append(_Part(marks, np.full(len(features), -1), np.full(len(features), -1)))
    if codes is not None:
        parts.append(_picture(vocabulary, PICTURE, codes))
    return replace(_made("caption", [*parts, _words(vocabulary, words, learnt=True, ended=ended)]), features=features)


def masked(
    vocabulary: Vocabulary, prompt: Ints, codes: Ints, hidden: np.ndarray, source: Ints | None = None
) -> DrawingSequence:
    """A picture some of whose codes are hidden: ``codes`` (places,), ``hidden`` (places,) bool. See ``hidden_places``."""
    parts = [] if source is None else [_picture(vocabulary, SOURCE, source)]
    parts.append(_words(vocabulary, prompt))
    there = _code_ids(vocabulary, codes)
    ids = np.where(hidden, vocabulary.mark(HIDDEN), there)
    begin = _Part(np.array([vocabulary.mark(MASKED)]), np.array([-1]), np.array([-1]))
    picture = _Part(ids, np.arange(len(ids)), np.where(hidden, there, -1))
    start = sum(len(part.ids) for part in parts) + 1
    return replace(_made("masked", [*parts, begin, picture]), block=start)


@dataclass
class _Part:
    """A stretch of a sequence: ids, places, and what each token predicts."""

    ids: np.ndarray
    places: np.ndarray
    answers: np.ndarray


def _made(form: str, parts: list[_Part]) -> DrawingSequence:
    ids, places, answers = (
        np.concatenate([getattr(part, name) for part in parts]).astype(np.int64)
        for name in ("ids", "places", "answers")
    )
    return DrawingSequence(form, ids, places, answers)


def _words(vocabulary: Vocabulary, words: Ints, *, learnt: bool = False, ended: bool = True) -> _Part:
    """``<words> w …``; where learnt, each predicts the next, the last one the end."""
    ids = np.concatenate([[vocabulary.mark(WORDS)], np.asarray(words, dtype=np.int64)])
    answers = np.full(len(ids), -1)
    if learnt:
        answers[:-1] = ids[1:]
        answers[-1] = vocabulary.mark(END) if ended else -1
    return _Part(ids, np.full(len(ids), -1), answers)


def _picture(vocabulary: Vocabulary, mark: int, codes: Ints, *, learnt: bool = False) -> _Part:
    """A mark, then codes; where learnt, each predicts the next."""
    ids = np.concatenate([[vocabulary.mark(mark)], _code_ids(vocabulary, codes)])
    answers = np.full(len(ids), -1)
    if learnt:
        answers[:-1] = ids[1:]
    return _Part(ids, np.arange(-1, len(ids) - 1), answers)


def _code_ids(vocabulary: Vocabulary, codes: Ints) -> np.ndarray:
    return np.asarray(codes, dtype=np.int64) + vocabulary.words


# -- chance ----------------------------------------------------------------------------------------


def dropped(prompt: Ints, probability: float, draws: np.random.Generator) -> Ints:
    """The prompt, or none of it with the given chance, so that guidance has a model without words to start from."""
    return [] if draws.random() < probability else prompt


def hidden_places(places: int, draws: np.random.Generator) -> np.ndarray:
    """Which codes are hidden, (places,) bool: a share of cos(π/2 · u), u uniform, and one at least (MaskGIT)."""
    count = max(1, math.ceil(math.cos(math.pi / 2 * draws.random()) * places))
    hidden = np.zeros(places, dtype=bool)
    hidden[draws.permutation(places)[:count]] = True
    return hidden


# -- batches ---------------------------------------------------------------------------------------


def batch_of(
    sequences: Sequence[DrawingSequence], vocabulary: Vocabulary, rows: Sequence[int] | None = None
) -> DrawingBatch:
    """Sequences side by side, filled up at the right.

    Args:
        rows: their numbers in the table; their order by default.
    """
    length = max(len(one.ids) for one in sequences)
    ids, places, answers = (_filled([getattr(o, n) for o in sequences], length) for n in ("ids", "places", "answers"))
    sources = (answers >= 0).flatten().nonzero()[:, 0]
    answer = answers.flatten()[sources]
    code = (answer >= vocabulary.words) & (answer < vocabulary.words + vocabulary.codes)
    there = [one.features for one in sequences if one.features is not None]
    return DrawingBatch(
        ids=ids.clamp(min=0),
        places=places,
        positions=torch.arange(length).expand(len(sequences), -1),
        visible=_visible(sequences, length),
        word_sources=sources[~code],
        word_answers=answer[~code].clamp(max=vocabulary.words),  # the end comes behind the last word
        code_sources=sources[code],
        code_answers=answer[code] - vocabulary.words,
        features=torch.stack(there) if there else None,
        forms=tuple(one.form for one in sequences),
        rows=list(range(len(sequences)) if rows is None else rows),
    )


def _filled(arrays: list[np.ndarray], length: int) -> Tensor:
    """(rows, length), -1 behind each row's end."""
    filled = np.full((len(arrays), length), -1, dtype=np.int64)
    for row, array in zip(filled, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(filled)


def _visible(sequences: Sequence[DrawingSequence], length: int) -> Tensor | None:
    """See ``DrawingBatch``. Behind a row's end stands nothing that a real token sees; what is there sees itself."""
    if all(one.block is None for one in sequences):
        return None
    visible = torch.ones(length, length, dtype=torch.bool).tril().repeat(len(sequences), 1, 1)
    for row, one in zip(visible, sequences, strict=True):
        if one.block is not None:
            row[one.block : len(one.ids), one.block : len(one.ids)] = True
    return visible
