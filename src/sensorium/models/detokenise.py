"""From tokens to text while they come: whole characters only, and the very text that all of them decode to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

_UNFINISHED = "\ufffd"  # what bytes decode to that are no character yet


class TextStream:
    """Tokens in, text out as soon as its characters are whole; together what decoding all tokens at once gives.

    A few tokens before the new ones are decoded with them, since some tokenizers write a word's space by what precedes.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._ids: list[int] = []
        self._start = self._read = 0  # what is decoded together begins at ``_start``; all before ``_read`` is said
        self._said = 0  # characters of what is decoded together

    def add(self, token: int) -> str:
        """The text that ``token`` completes, often empty where a character has several tokens."""
        self._ids.append(token)
        return self._grown(wait=True)

    def end(self) -> str:
        """What is left; a character that stayed incomplete becomes U+FFFD."""
        return self._grown(wait=False)

    def _grown(self, wait: bool) -> str:
        text = self._decoded(self._ids[self._start :])
        whole = len(text.rstrip(_UNFINISHED)) if wait else len(text)
        new = text[self._said : whole]
        self._said = max(self._said, whole)
        if whole == len(text):
            self._start, self._read = self._read, len(self._ids)
            self._said = len(self._decoded(self._ids[self._start :]))
        return new

    def _decoded(self, ids: list[int]) -> str:
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)


def text_pieces(tokens: Iterable[int], tokenizer: Any) -> Iterator[str]:
    """The text of an answer, a piece for each token that ends one or more characters; special tokens say nothing."""
    text = TextStream(tokenizer)
    yield from filter(None, map(text.add, tokens))
    if rest := text.end():
        yield rest


def stripped(pieces: Iterable[str]) -> Iterator[str]:
    """Pieces without white space at the two ends of the whole."""
    started, held = False, ""
    for piece in pieces:
        text = held + piece if started else piece.lstrip()
        body = text.rstrip()
        held = text[len(body) :]
        if body:
            started = True
            yield body
