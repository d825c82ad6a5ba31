"""From tokens to text on the way: whole characters only, and never a part of a stop text."""

from __future__ import annotations

from typing import Any

WAIT = 8  # tokens without a whole character: then they hold none (a character of UTF-8 has at most four bytes)


class TextStream:
    """Tokens in, text out as soon as its characters are whole; together what decoding all tokens at once gives.

    A few tokens before the new ones are decoded with them, since some tokenizers write a word's space by what precedes.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._ids: list[int] = []
        self._start = self._read = 0

    def add(self, token: int) -> str:
        """The text that ``token`` completes, often empty where a character has several tokens."""
        self._ids.append(token)
        return self._grown(wait=True)

    def end(self) -> str:
        """What is left; a character that stayed incomplete becomes U+FFFD."""
        return self._grown(wait=False)

    def _grown(self, wait: bool) -> str:
        before = self._decoded(self._ids[self._start : self._read])
        text = self._decoded(self._ids[self._start :])
        if wait and text.endswith("\ufffd") and len(self._ids) - self._read < WAIT:
            return ""
        self._start, self._read = self._read, len(self._ids)
        return text[len(before) :]

    def _decoded(self, ids: list[int]) -> str:
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)


class StopTexts:
    """Holds back what may become a stop text, and ends at the first that is whole."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.stops = tuple(stop for stop in stops if stop)
        self.stopped = False
        self._held = ""

    def add(self, text: str) -> str:
        """More text in; what can be shown of it out. ``stopped`` says whether a stop text is complete."""
        held = self._held + text
        found = [place for stop in self.stops if (place := held.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return held[: min(found)]
        keep = max((_overlap(held, stop) for stop in self.stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def end(self) -> str:
        """What was held back, when the answer ends in another way."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of ``text`` that ``stop`` begins with."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
