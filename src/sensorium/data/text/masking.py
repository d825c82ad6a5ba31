"""What masked language modelling hides: single tokens, whole words or spans, eight in ten of them behind the mask.

Randomness is handed in: ``modalities.generator(seed, epoch, index)``, so that each epoch hides anew and a resumed run hides
the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.data.text.words import Words
from sensorium.errors import RecipeError
from sensorium.recipe import MaskingRecipe

MASKED, REPLACED = 0.8, 0.1  # shares of what is hidden; the rest stays as it is (Devlin et al. 2019)
SENTINELS = 100  # as many as T5 has (Raffel et al. 2020)


@dataclass(frozen=True)
class Vocabulary:
    """What masking must know of a tokenizer.

    Attributes:
        special: (vocabulary,) tokens that are never hidden; plain: the numbers of all others.
        mask: the token that stands for a hidden one; None where there is none.
        sentinels: tokens that stand for hidden spans, in order.
        words: numbers the words of a sequence, for whole-word masking; else None.
    """

    special: np.ndarray
    plain: np.ndarray
    mask: int | None
    sentinels: np.ndarray
    words: Words | None = None

    @classmethod
    def of(cls, tokenizer: Any, masking: MaskingRecipe) -> Vocabulary:
        """Of a fast tokenizer; sentinels are its tokens named as in ``sentinel_names``."""
        special = np.zeros(len(tokenizer), dtype=bool)
        special[[*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder]] = True
        known = tokenizer.get_added_vocab()
        sentinels = [known[name] for name in sentinel_names(len(known)) if name in known]
        words = Words(tokenizer) if masking.unit == "whole_word" else None
        plain = np.flatnonzero(~special)
        return cls(special, plain, tokenizer.mask_token_id, np.array(sentinels, dtype=np.int64), words)


def sentinel_names(count: int = SENTINELS) -> list[str]:
    """Special tokens for spans that are moved to the end: ``<hidden_0>``, ``<hidden_1>``, …"""
    return [f"<hidden_{number}>" for number in range(count)]


@dataclass
class Hidden:
    """A sequence with hidden tokens: ``ids`` (tokens,), ``places`` and ``answers`` (hidden,) what stood at each place."""

    ids: np.ndarray
    places: np.ndarray
    answers: np.ndarray


def hide(ids: np.ndarray, vocabulary: Vocabulary, masking: MaskingRecipe, rng: np.random.Generator) -> Hidden:
    """BERT's masking: of what is hidden 80 % becomes the mask token, 10 % another token, 10 % stays (Devlin et al. 2019).

    The three kinds are drawn for each token; for spans once a span (Joshi et al. 2020).

    Args:
        ids: (tokens,), of one document or of several.

    Raises:
        RecipeError: the tokenizer has no mask token.
    """
    if vocabulary.mask is None:
        raise RecipeError(
            "the tokenizer has no mask token",
            where="pretraining.objectives",
            mend="leave masked_lm out, or start from a tokenizer that has one",
        )
    spans = hidden_spans(ids, vocabulary, masking, rng)
    places = np.array([place for start, end in spans for place in range(start, end)], dtype=np.int64)
    if masking.unit == "span":
        kinds = np.repeat(rng.random(len(spans)), [end - start for start, end in spans])
    else:
        kinds = rng.random(len(places))
    shown = np.array(ids, dtype=np.int64)
    answers = shown[places]
    shown[places[kinds < MASKED]] = vocabulary.mask
    other = places[(kinds >= MASKED) & (kinds < MASKED + REPLACED)]
    shown[other] = rng.choice(vocabulary.plain, len(other))
    return Hidden(shown, places, answers)


def hidden_spans(
    ids: np.ndarray, vocabulary: Vocabulary, masking: MaskingRecipe, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """What to hide, as (start, end) in order; they never overlap and hold no special token.

    As many tokens as ``masking.share`` asks for, on average: the last word or span, which would go beyond, is taken with
    the chance that makes it so. At least one token is hidden where there is any.
    """
    ids = np.asarray(ids)
    open_ = ~vocabulary.special[ids]
    wanted = masking.share * open_.sum()
    if not wanted:
        return []
    if masking.unit == "token":
        count = max(1, int(wanted + rng.random()))
        return [(int(place), int(place) + 1) for place in np.sort(rng.permutation(np.flatnonzero(open_))[:count])]
    if masking.unit == "whole_word":
        assert vocabulary.words is not None
        found = _words(vocabulary.words(ids), open_, wanted, rng)
    else:
        found = _spans(open_, wanted, masking.span, rng)
    return sorted(found)


def _words(numbers: np.ndarray, open_: np.ndarray, wanted: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Words in random order until the share is reached."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    ends = np.append(starts[1:], len(numbers))
    words = np.flatnonzero(open_[starts])
    chosen: list[tuple[int, int]] = []
    for word in rng.permutation(words):
        length = int(ends[word] - starts[word])
        if length > wanted and chosen and rng.random() * length >= wanted:
            break
        chosen.append((int(starts[word]), int(ends[word])))
        wanted -= length
        if wanted <= 0:
            break
    return chosen


def _spans(open_: np.ndarray, wanted: float, mean: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Spans of geometric length at random places, with at least one token in sight between any two."""
    open_ = np.concatenate([[False], open_, [False]])  # with a neighbour on each side
    longest = max(1, int(open_.sum()) // 2)
    chosen: list[tuple[int, int]] = []
    length = min(int(rng.geometric(1 / mean)), longest)
    taken = np.zeros(len(open_), dtype=bool)
    for start in rng.permutation(np.flatnonzero(open_)):
        if not open_[start : start + length].all() or taken[start - 1 : start + length + 1].any():
            continue
        if length > wanted and chosen and rng.random() * length >= wanted:
            break
        taken[start : start + length] = True
        chosen.append((int(start) - 1, int(start) - 1 + length))
        wanted -= length
        if wanted <= 0:
            break
        length = min(int(rng.geometric(1 / mean)), longest)
    return chosen
