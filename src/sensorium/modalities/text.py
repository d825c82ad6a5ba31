"""Text: cleaned the same way in training and in use, augmented in training, corrupted in audits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import numpy as np

# C0 and C1 controls but tab and line feed, lone surrogates, byte-order marks, non-characters, and the two bidi
# overrides, which make text read otherwise than it is stored (Boucher & Anderson 2021). Marks, embeddings and isolates
# of right-to-left scripts stay, as do the joiners that Persian, Hindi and emoji need.
_DROPPED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\u202d\u202e\ufdd0-\ufdef\ufffe\uffff"
    + "".join(chr(plane + end) for plane in range(0x10000, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF))
    + "]"
)
_BREAKS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")  # what str.splitlines breaks at, as one kind
_PILE = re.compile(r"[^\w\s\x00-\x7f]{31,}")
MOST_MARKS = 30  # combining marks in a row: Stream-Safe Text (UAX #15); more make normalisation quadratic


def clean(text: str) -> str:
    """``text`` in Unicode NFC, line breaks as ``\\n``, without control characters but tab. ``clean`` is idempotent."""
    if text.isascii() and text.isprintable():
        return text
    text = _DROPPED.sub("", _BREAKS.sub("\n", text))
    return unicodedata.normalize("NFC", _PILE.sub(_thin, text))


def _thin(match: re.Match[str]) -> str:
    kept, marks = [], 0
    for character in match[0]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MOST_MARKS:
            kept.append(character)
    return "".join(kept)


# -- augmentation ----------------------------------------------------------------------------------


def augment(text: str, rng: np.random.Generator, *, drop: float = 0.05, typos: float = 0.01) -> str:
    """Leave out words with chance ``drop`` and mistype letters with chance ``typos``; one word at least remains."""
    return _mistype(_drop_words(text, drop, rng), typos, rng)


def _drop_words(text: str, share: float, rng: np.random.Generator) -> str:
    pieces = re.split(r"(\s+)", text)
    words = [i for i, piece in enumerate(pieces) if piece and not piece.isspace()]
    gone = rng.random(len(words)) < share
    if len(words) < 2 or not gone.any():
        return text
    if gone.all():
        gone[int(rng.integers(len(words)))] = False
    dropped = {place for place, out in zip(words, gone) if out}
    for place in list(dropped):  # with the white space behind the word, or before the last one
        dropped.add(place + 1 if place + 1 < len(pieces) else place - 1)
    return "".join(piece for i, piece in enumerate(pieces) if i not in dropped).strip()


_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEAR = {
    letter: "".join(row[i] for i in (place - 1, place + 1) if 0 <= i < len(row))
    for row in _ROWS
    for place, letter in enumerate(row)
}


def _mistype(text: str, share: float, rng: np.random.Generator) -> str:
    """Letters swapped with the next one, left out, doubled, or replaced by a neighbour on the keyboard."""
    letters = list(text)
    places = [i for i, letter in enumerate(letters) if letter.isalpha()]
    for place in (places[i] for i in np.flatnonzero(rng.random(len(places)) < share)):
        letter, kind = letters[place], int(rng.integers(4))
        near = _NEAR.get(letter.lower())
        if kind == 0 and place + 1 < len(letters) and letters[place + 1].isalpha():
            letters[place], letters[place + 1] = letters[place + 1], letter
        elif kind == 1 and len(places) > 1:
            letters[place] = ""
        elif kind == 2 or near is None:
            letters[place] = letter * 2
        else:
            other = near[int(rng.integers(len(near)))]
            letters[place] = other.upper() if letter.isupper() else other
    return "".join(letters)


# -- corruption ------------------------------------------------------------------------------------

# Letters that look alike in other scripts (Unicode TR 39's confusables, the plainest of them).
_ALIKE = str.maketrans("aceiopsxyABCEHIKMOPTX", "асеіорѕхуАВСЕНІКМОРТХ")


def _typos(text: str, severity: int, rng: np.random.Generator) -> str:
    return _mistype(text, (0.02, 0.05, 0.1, 0.2, 0.3)[severity - 1], rng)


def _word_drop(text: str, severity: int, rng: np.random.Generator) -> str:
    return _drop_words(text, (0.1, 0.2, 0.3, 0.5, 0.7)[severity - 1], rng)


def _case(text: str, severity: int, rng: np.random.Generator) -> str:
    flipped = rng.random(len(text)) < (0.05, 0.1, 0.25, 0.5, 1.0)[severity - 1]
    return "".join(c.swapcase() if flip else c for c, flip in zip(text, flipped))


def _lookalikes(text: str, severity: int, rng: np.random.Generator) -> str:
    swapped = rng.random(len(text)) < (0.05, 0.1, 0.25, 0.5, 1.0)[severity - 1]
    return "".join(c.translate(_ALIKE) if swap else c for c, swap in zip(text, swapped))


CORRUPTIONS: dict[str, Callable[[str, int, np.random.Generator], str]] = {
    "typos": _typos,
    "word_drop": _word_drop,
    "case": _case,
    "lookalikes": _lookalikes,
}


def corrupt(text: str, kind: str, severity: int, rng: np.random.Generator) -> str:
    """``text`` spoilt by one of ``CORRUPTIONS``.

    Raises:
        ValueError: there is no such kind, or ``severity`` is not 1 to 5.
    """
    if kind not in CORRUPTIONS or severity not in range(1, 6):
        raise ValueError(f"no corruption {kind!r} of severity {severity}; kinds: {', '.join(CORRUPTIONS)}; 1 to 5")
    return CORRUPTIONS[kind](text, severity, rng)
