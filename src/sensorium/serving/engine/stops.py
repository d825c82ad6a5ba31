"""Texts that end an answer, found while it comes."""

from __future__ import annotations


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
