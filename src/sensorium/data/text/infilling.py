"""Masked language modelling for a causal model: hidden spans move to the end, behind sentinels, and are foretold there.

As GLM (Du et al. 2022) and CM3 (Aghajanyan et al. 2022) do, with T5's sentinels (Raffel et al. 2020): ``a b c d`` with
``b c`` hidden becomes ``a <hidden_0> d <hidden_0> b c <hidden_1>``. The model sees both sides of a gap before it fills it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sensorium.data.text.masking import Vocabulary, hidden_spans
from sensorium.errors import RecipeError
from sensorium.recipe import MaskingRecipe


@dataclass
class Infilled:
    """A rearranged sequence: ``ids`` (tokens,); ``sources`` (supervised,) are the places whose next token is taught."""

    ids: np.ndarray
    sources: np.ndarray

    @property
    def answers(self) -> np.ndarray:
        """(supervised,) what is taught: the hidden tokens, and behind each span the sentinel that ends it."""
        return self.ids[self.sources + 1]


def infill(ids: np.ndarray, vocabulary: Vocabulary, masking: MaskingRecipe, rng: np.random.Generator) -> Infilled:
    """One document with its hidden spans at the end; it grows by two tokens a span, and one.

    Adjacent spans are one. Where there are more spans than sentinels, those in front stay in sight. Without anything to
    hide the document stays as it is and teaches nothing.

    Raises:
        RecipeError: the tokenizer has no sentinels.
    """
    names = vocabulary.sentinels
    if len(names) < 2:
        raise RecipeError(
            "the tokenizer has no sentinels for infilling",
            where="pretraining.objectives",
            mend="leave masked_lm out, or add the special tokens <hidden_0>, <hidden_1>, … to the tokenizer",
        )
    ids = np.asarray(ids, dtype=np.int64)
    spans = _joined(hidden_spans(ids, vocabulary, masking, rng))[-(len(names) - 1) :]
    if not spans:
        return Infilled(ids, np.zeros(0, dtype=np.int64))
    seen: list[np.ndarray] = []
    moved: list[np.ndarray] = []
    at = 0
    for number, (start, end) in enumerate(spans):
        name = names[number : number + 1]
        seen += [ids[at:start], name]
        moved += [name, ids[start:end]]
        at = end
    made = np.concatenate([*seen, ids[at:], *moved, names[len(spans) : len(spans) + 1]])
    first = len(ids) - sum(end - start for start, end in spans) + len(spans)
    return Infilled(made, np.arange(first, len(made) - 1))


def restore(ids: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """The document that ``infill`` rearranged, or that a model's filling of the gaps makes.

    Raises:
        ValueError: it is not laid out as ``infill`` does.
    """
    ids = np.asarray(ids, dtype=np.int64)
    names = vocabulary.sentinels
    places = np.flatnonzero(np.isin(ids, names))
    if not len(places):
        return ids
    count = (len(places) - 1) // 2
    expected = np.concatenate([names[:count], names[: count + 1]])
    if len(places) != 2 * count + 1 or (ids[places] != expected).any() or places[-1] != len(ids) - 1:
        raise ValueError("no infilled sequence: sentinels stand where none are expected")
    gaps, ends = places[:count], places[count:]
    parts, at = [], 0
    for gap, start, end in zip(gaps, ends[:-1], ends[1:]):
        parts += [ids[at:gap], ids[start + 1 : end]]
        at = gap + 1
    return np.concatenate([*parts, ids[at : ends[0]]])


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in spans:
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found
