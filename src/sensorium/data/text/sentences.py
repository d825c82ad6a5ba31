"""Where a text may be parted into sentences so that tokenising the parts gives the tokens of the whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

# A sentence ends at . ! ? … and what closes a quotation, before a single space; at a line's end; and, in scripts that
# write no spaces, behind their own full stops. With each kind a text that shows whether a tokenizer parts there anyway.
_KINDS = (
    (r"(?<=[.!?…؟।][\"')\]»”’])(?= \w)|(?<=[.!?…؟।])(?= [\w\"'(«“‘¿¡])", "It is so. Was it?", 9),
    (r"(?<=\S\n)(?=\S)", "It is so.\nWas it?", 10),
    (r"(?<=[。！？])(?=\w)", "它是。真的吗", 3),
)
LONGEST = 1 << 16  # characters tokenised at once; a longer stretch without an end of sentence is cut before a space


class SentenceParts:
    """``parts(text)``: sentences that, tokenised one by one, make up the tokens of the whole text.

    Only those kinds of ends part a text at which the tokenizer parts it as well: byte-level and WordPiece ones at all, those
    that write a mark before every text (SentencePiece) at spaces alone. Where there is none, a text is one sentence.
    """

    def __init__(self, tokenizer: Any) -> None:
        kinds = [pattern for pattern, text, at in _KINDS if _apart(tokenizer, text, at)]
        self.exact = bool(kinds)
        self._ends = re.compile("|".join(kinds)) if kinds else None

    def __call__(self, text: str) -> list[str]:
        places = [match.start() for match in self._ends.finditer(text)] if self._ends else []
        parts = [text[start:end] for start, end in zip([0, *places], [*places, len(text)])]
        return [piece for part in parts for piece in _short(part)]


def encoded(texts: list[str], tokenizer: Any) -> list[np.ndarray]:
    """Token numbers of each text, int64, without special tokens; names of special tokens are read as characters."""
    inner = tokenizer.backend_tokenizer
    before, inner.encode_special_tokens = inner.encode_special_tokens, True
    try:
        inner.no_truncation()
        inner.no_padding()
        return [
            np.array(found.ids, dtype=np.int64) for found in inner.encode_batch_fast(texts, add_special_tokens=False)
        ]
    finally:
        inner.encode_special_tokens = before


def _apart(tokenizer: Any, text: str, at: int) -> bool:
    whole, left, right = encoded([text, text[:at], text[at:]], tokenizer)
    return whole.tolist() == [*left, *right]


def _short(text: str) -> Iterator[str]:
    while len(text) > LONGEST:
        cut = text.rfind(" ", 1, LONGEST)
        cut = cut if cut > 0 else LONGEST
        yield text[:cut]
        text = text[cut:]
    yield text
