"""What simpler methods say: the source as it stands, and word for word.

A word's likeliest translation is found by IBM model 1 (Brown et al. 1993), a word aligner that knows neither order nor
context, trained by expectation maximisation on the training pairs alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sensorium.metrics.translation import tokens_of

ROUNDS = 6  # of expectation maximisation
MOST_PAIRS = 40_000  # of sentences that are learnt from; more would take minutes and change little
LONGEST = 60  # words of a sentence that take part: a line of a megabyte is no sentence


def copies(sources: Sequence[str]) -> list[str]:
    """Every source as it stands: names, numbers and punctuation are right already."""
    return list(sources)


def word_for_word(sources: Sequence[str], dictionary: Mapping[str, str], direction: str) -> list[str]:
    """Each word's likeliest translation in the source's order; marks, and words not in ``dictionary``, stay.

    Args:
        dictionary: lower-cased source word -> target word, as ``learn_dictionary`` gives it.
        direction: as "en-de".
    """
    source, _, target = direction.partition("-")
    space = "" if unspaced(target) else " "
    found = []
    for text in sources:
        out = ""
        for word in words(text, source):
            said = dictionary.get(word.lower(), word)
            if word[:1].isupper() and said[:1].islower():
                said = said[:1].upper() + said[1:]
            out += said if not out or _closes(said) or out[-1] in "([„«¿¡" else space + said
        found.append(out)
    return found


def learn_dictionary(sources: Sequence[str], targets: Sequence[str], direction: str, seed: int = 0) -> dict[str, str]:
    """The likeliest target word of every source word of the training pairs.

    Args:
        sources, targets: n texts, n ≥ 0; of more than ``MOST_PAIRS`` a fixed random choice is read.
        direction: as "en-de".

    Returns:
        lower-cased source word -> target word as it is written.
    """
    source, _, target = direction.partition("-")
    chosen = np.arange(len(sources))
    if len(chosen) > MOST_PAIRS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MOST_PAIRS, replace=False))
    said, meant = _numbered([_learnt(sources[i].lower(), source) for i in chosen.tolist()])
    wanted, written = _numbered([_learnt(targets[i], target) for i in chosen.tolist()])
    if not meant or not written:
        return {}
    likely, e, f = align(said, wanted, len(meant))
    # The last of each source word's entries in this order is its likeliest; ties go to the first word met.
    order = np.lexsort((-f, likely, e))
    last = np.flatnonzero(np.diff(e[order], append=-1))
    pairs = zip(e[order][last].tolist(), f[order][last].tolist())
    return {meant[word - 1]: written[said_so] for word, said_so in pairs if word > 0}


def align(
    sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], source_words: int, rounds: int = ROUNDS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IBM model 1: t(f | e) of the word pairs that occur together.

    Args:
        sources, targets: word numbers of each sentence, from 0.
        source_words: how many source words there are.

    Returns:
        (pairs,) t, e and f; e is 0 for the empty word, which every sentence holds, and a source word's number plus one.
    """
    with_empty = [np.concatenate([[0], sentence + 1]) for sentence in sources]
    # Every target place meets every source place of its sentence: the cells of all sentences, one after another.
    e = np.concatenate([np.tile(s, len(t)) for s, t in zip(with_empty, targets, strict=True)]).astype(np.int64)
    f = np.concatenate([np.repeat(t, len(s)) for s, t in zip(with_empty, targets, strict=True)]).astype(np.int64)
    places = np.repeat(
        np.arange(sum(map(len, targets))), np.repeat(list(map(len, with_empty)), list(map(len, targets)))
    )
    target_words = int(f.max()) + 1
    known, cell = np.unique(e * target_words + f, return_inverse=True)
    of_source, of_target = known // target_words, known % target_words
    likely = np.ones(len(known))
    for _ in range(rounds):
        shares = likely[cell]
        shares /= np.bincount(places, shares)[places]
        counts = np.bincount(cell, shares, len(known))
        likely = counts / np.bincount(of_source, counts, source_words + 1)[of_source]
    return likely, of_source, of_target


def words(text: str, language: str) -> list[str]:
    """Words as white space parts them, punctuation and symbols at their ends apart; characters where there is none."""
    if unspaced(language):
        return [character for character in text if not character.isspace()]
    found: list[str] = []
    for chunk in text.split():
        start, end = 0, len(chunk)
        while start < end and _mark(chunk[start]):
            start += 1
        while end > start and _mark(chunk[end - 1]):
            end -= 1
        found += [*chunk[:start], *([chunk[start:end]] if end > start else []), *chunk[end:]]
    return found


def unspaced(language: str) -> bool:
    """Whether a language is written without spaces between words."""
    return tokens_of(language) != "13a"


def _learnt(text: str, language: str) -> list[str]:
    """The words that are learnt; marks stay what they are."""
    return [word for word in words(text, language) if not (len(word) == 1 and _mark(word))][:LONGEST]


def _numbered(sentences: Iterable[list[str]]) -> tuple[list[np.ndarray], list[str]]:
    """Word numbers of each sentence, and the words by number."""
    numbers: dict[str, int] = {}
    found = [
        np.array([numbers.setdefault(word, len(numbers)) for word in sentence], dtype=np.int64)
        for sentence in sentences
    ]
    return found, list(numbers)


def _mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _closes(word: str) -> bool:
    return len(word) == 1 and word in ".,;:!?)]…%»“。，、！？"
