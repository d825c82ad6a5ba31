"""Words of a source are hidden behind a mark, so that only a picture can tell them (Caglayan et al. 2019).

A run of hidden words is one mark: how many there were is hidden too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import numpy as np

MARK = "<mask>"
"""What stands for hidden words; a special token of the tokenizer, so that no text spells it by chance."""

_WORD = re.compile(r"\S+")
_EDGES = re.compile(r"^\W+|\W+$")


def hide(text: str, hidden: Callable[[int, str], bool]) -> str:
    """``text`` with words hidden, spaces and the punctuation of hidden words lost.

    Args:
        hidden: (place, word without punctuation around it) -> whether it is hidden. What is written without spaces is
            one word.
    """
    out: list[str] = []
    for place, found in enumerate(_WORD.finditer(text)):
        word = found.group()
        if not hidden(place, bare(word)):
            out.append(word)
        elif not out or out[-1] != MARK:
            out.append(MARK)
    return " ".join(out)


def hide_all(text: str) -> str:
    """Nothing but the mark; an empty text stays empty."""
    return MARK if text.strip() else text


def hide_words(text: str, words: Collection[str]) -> str:
    """``text`` with every word hidden that is one of ``words``, in whatever case."""
    known = {word.casefold() for word in words}
    return hide(text, lambda _, word: word.casefold() in known)


def hide_share(text: str, share: float, rng: np.random.Generator) -> str:
    """``text`` with a share of its words hidden, at least one."""
    count = len(text.split())
    if not count:
        return text
    chosen = set(rng.permutation(count)[: max(1, round(share * count))].tolist())
    return hide(text, lambda place, _: place in chosen)


def hide_for_training(text: str, rng: np.random.Generator) -> str:
    """One of a training source's many disguises: half the time nothing is left, else a share drawn evenly from 0 to 1."""
    return hide_all(text) if rng.random() < 0.5 else hide_share(text, float(rng.random()), rng)


def bare(word: str) -> str:
    """A word without the punctuation around it; punctuation alone stays."""
    return _EDGES.sub("", word) or word
