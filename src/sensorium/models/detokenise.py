"""From tokens to text while they come: whole characters only, and the very text that all of them decode to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

_UNFINISHED = "\ufffd"  # what bytes decode to that are no character yet


def text_pieces(tokens: Iterable[int], tokenizer: Any) -> Iterator[str]:
    """The text of an answer, a piece for each token that ends one or more characters; special tokens say nothing.

    A token's text depends on those before it (spaces, characters of several tokens), so each is decoded behind the
    last few: what they say together, less what they said before, is new.
    """
    ids: list[int] = []
    before, said = 0, 0  # decoding starts at ``before``; tokens up to ``said`` have been told

    def decode(start: int, stop: int) -> str:
        return str(tokenizer.decode(ids[start:stop], skip_special_tokens=True))

    for token in tokens:
        ids.append(token)
        known, text = decode(before, said), decode(before, len(ids))
        if len(text) > len(known) and not text.endswith(_UNFINISHED):
            yield text[len(known) :]
            before, said = said, len(ids)
    rest = decode(before, len(ids))[len(decode(before, said)) :]
    if rest:
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
