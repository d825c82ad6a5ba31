"""What a command writes: JSON alone on stdout, tables and lines for people, progress on stderr.

Text that comes from data is printed as text: Rich's markup and control characters in a cell do nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.training.protocols import Advance


def first_process() -> bool:
    """Whether this process speaks for all: under ``accelerate launch`` the first one does."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str = "") -> None:
    """Print one line on stdout."""
    if first_process():
        print(printable(text))


def printable(text: str) -> str:
    """``text`` with control characters made visible: a hostile cell cannot drive a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def show(renderable: Any) -> None:
    """Print a Rich renderable (table, panel, text) on stdout; a plain string is printed as it is."""
    if isinstance(renderable, str):
        say(renderable)
    if isinstance(renderable, str) or not first_process():
        return
    from rich.console import Console

    Console(file=sys.stdout, soft_wrap=False, markup=False, highlight=False, emoji=False).print(renderable)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a small table on stdout; columns whose cells are all numbers stand to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    view = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        cells = [row[index] for row in rows]
        view.add_column(
            name, no_wrap=index == 0, justify="right" if cells and all(_numeric(cell) for cell in cells) else "left"
        )
    for row in rows:
        view.add_row(*(Text(cell) for cell in row))
    show(view)


@contextlib.contextmanager
def one_json_object(wanted: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield ``emit(object)``. When ``wanted``, everything else that is printed meanwhile goes to stderr.

    ``emit`` keeps the object; it is printed when the block ends without an error.
    """
    kept: list[dict[str, Any]] = []
    if not wanted:
        yield kept.append
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield kept.append
    for value in kept[-1:] if first_process() else []:
        print(json.dumps(value, ensure_ascii=False, default=str))


class Progress:
    """News of long work, all of it on stderr: ``progress("text")`` says a line, ``progress.task(…)`` opens a bar.

    It is what the rooms below ask for (``Say`` and ``Progress`` of ``sensorium.training.protocols``).
    """

    def __call__(self, text: str) -> None:
        if first_process():
            print(printable(text), file=sys.stderr, flush=True)

    def task(self, name: str, total: int, done: int = 0, unit: str = "") -> AbstractContextManager[Advance]:
        """A bar over ``total`` units, ``done`` of them before now; on a terminal, plain lines when piped."""
        from sensorium.training.progress import make_progress

        return make_progress(quiet=not first_process()).task(name, total, done, unit)


def _numeric(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "", 1).replace("%", "").strip().lstrip("-").isdigit()
