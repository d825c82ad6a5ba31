"""Which tokens make up a word: for masking that hides words whole, whatever the tokenizer and the script."""

from __future__ import annotations

import json
import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np

_SINGLE = (
    (0x3400, 0x4DC0),
    (0x4E00, 0xA000),
    (0xF900, 0xFB00),
)  # ideographs: each a word, as in BERT (Devlin et al. 2019)
_CLASSED = 0x20000  # code points beyond are ideographs, tags and private ones: each by itself


class Words:
    """``words(ids)`` numbers the words of a token sequence.

    A word is a run of letters, digits and their marks; a punctuation mark, a symbol or an ideograph is one by itself. White
    space goes with what follows. Tokens that reach over several words tie these together, and the bytes of one character
    stay together, so no word is ever parted.

    Args:
        tokenizer: a fast one: byte-level, WordPiece, or one that writes spaces as ``▁`` (SentencePiece).
    """

    def __init__(self, tokenizer: Any) -> None:
        self._special = np.zeros(len(tokenizer), dtype=bool)
        self._special[[i for i in tokenizer.all_special_ids if i < len(tokenizer)]] = True
        self._bytes = token_bytes(tokenizer)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """(tokens,) -> (tokens,) numbers that grow by one at each new word; every special token is one of its own."""
        pieces = [b"" if self._special[i] else self._bytes[i] for i in ids]
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        text = b"".join(pieces).decode("utf-8", errors="surrogateescape")
        points = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32).astype(np.int64)
        lone = (points >= 0xDC80) & (points < 0xDD00)  # a byte that is no whole character
        sizes = np.where(lone, 1, 1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000))
        inside = _joins()[np.minimum(points, _CLASSED)] | lone
        starts_word = np.ones(len(points), dtype=bool)
        starts_word[1:] = ~(inside[1:] & inside[:-1])
        at = np.zeros(int(ends[-1]) + 1 if len(ends) else 1, dtype=bool)
        at[(np.cumsum(sizes) - sizes)[starts_word]] = True
        at[-1] = True
        special = self._special[ids]
        begins = at[np.concatenate([[0], ends[:-1]]).astype(np.int64)] if len(ids) else special
        begins = begins | special
        begins[1:] |= special[:-1]
        return np.cumsum(begins) - 1


def token_bytes(tokenizer: Any) -> list[bytes]:
    """The UTF-8 bytes that each token adds to a text; a token of a byte-level vocabulary may hold part of a character."""
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    if told["model"]["type"] == "WordPiece":
        prefix = told["model"].get("continuing_subword_prefix") or "##"
        return [(n.removeprefix(prefix) if n.startswith(prefix) else f" {n}").encode() for n in map(str, names)]
    if '"ByteLevel"' in json.dumps([told.get("decoder"), told.get("pre_tokenizer")]):
        known = byte_letters()
        return [
            bytes(known[letter] for letter in name) if all(letter in known for letter in name) else name.encode()
            for name in map(str, names)
        ]
    return [_metaspaced(str(name)) for name in names]


def _metaspaced(name: str) -> bytes:
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):  # byte fallback
        return bytes([int(name[3:5], 16)])
    return name.replace("\u2581", " ").encode()


@lru_cache(maxsize=1)
def byte_letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level vocabularies (Radford et al. 2019)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


@lru_cache(maxsize=1)
def _joins() -> np.ndarray:
    """(code points,) whether a character joins its neighbours to one word."""
    joins = np.array([unicodedata.category(chr(point))[0] in "LMN" for point in range(_CLASSED)] + [False])
    for start, end in _SINGLE:
        joins[start:end] = False
    return joins
