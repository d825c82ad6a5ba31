"""Text that comes in pieces, written in lines that a terminal shows without breaking words."""

from __future__ import annotations

from typing import TextIO


class Wrapped:
    """Writes pieces to ``out`` word by word, a word as soon as it is whole.

    Args:
        width: columns of a line, of which wide characters take two; None: each piece as it is, at once.
    """

    def __init__(self, out: TextIO, width: int | None) -> None:
        self._out, self._width = out, width
        self._column, self._gap, self._word = 0, 0, ""

    def write(self, text: str) -> None:
        """The next piece."""
        if self._width is None:
            self._out.write(text)
        else:
            for character in text:
                self._take(character, self._width)
        self._out.flush()

    def end(self) -> None:
        """The last word, and the end of its line."""
        self._place(self._width or 0)
        self._out.write("\n")
        self._out.flush()
        self._column = 0

    def _take(self, character: str, width: int) -> None:
        if not character.isspace():
            self._word += character
            if _columns(self._word) >= width:  # no space for a whole line, as in Chinese
                self._place(width)
            return
        self._place(width)
        if character == "\n":
            self._out.write("\n")
            self._column = self._gap = 0
        else:
            self._gap += 1

    def _place(self, width: int) -> None:
        if not self._word:
            return
        if self._column and self._column + self._gap + _columns(self._word) > width:
            self._out.write("\n")
            self._column = self._gap = 0
        self._out.write(" " * self._gap + self._word)
        self._column += self._gap + _columns(self._word)
        self._word, self._gap = "", 0


def _columns(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
