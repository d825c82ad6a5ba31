"""How far long work is: a bar with rate and time left on a terminal, plain lines when piped. Written to stderr.

Lower rooms import none of this; they take a plain function ``advance(count)``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO

from sensorium.training.protocols import Advance, Progress

EVERY_SECONDS, EVERY_SHARE = 10.0, 0.1


class Silent:
    """Shows nothing: processes other than the main one, ``--json``, tests."""

    def __call__(self, text: str) -> None:
        pass

    def task(self, name: str, total: int, done: int = 0, unit: str = "") -> AbstractContextManager[Advance]:
        return self._task()

    @contextmanager
    def _task(self) -> Iterator[Advance]:
        yield _ignore


class Lines:
    """A line every ten seconds or tenth of the work, whichever is later, and one at the end."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock

    def __call__(self, text: str) -> None:
        self._write(text)

    def task(self, name: str, total: int, done: int = 0, unit: str = "") -> AbstractContextManager[Advance]:
        return self._task(name, total, done, unit)

    @contextmanager
    def _task(self, name: str, total: int, done: int, unit: str) -> Iterator[Advance]:
        start = said_at = self._clock()
        at = said = done
        goal = total
        shown: dict[str, float | str] = {}

        def advance(count: int = 1, *, total: int | None = None, **facts: float | str) -> None:
            nonlocal at, said, said_at, goal
            at, goal = at + count, goal if total is None else total
            shown.update(facts)
            now = self._clock()
            waited, moved = now - said_at, at - said
            if (waited >= EVERY_SECONDS and moved >= EVERY_SHARE * goal) or waited >= 6 * EVERY_SECONDS:
                rate = (at - done) / max(now - start, 1e-9)
                left = clock_face((goal - at) / rate) if rate else "?"
                self._write(
                    ", ".join(
                        [f"{name}: {at}/{goal}", f"{rate:.3g} {unit or 'item'}/s", f"{left} left", *_texts(shown)]
                    )
                )
                said, said_at = at, now

        yield advance
        self._write(", ".join([f"{name}: {at}/{goal} in {clock_face(self._clock() - start)}", *_texts(shown)]))


class Bars:
    """rich's bars on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def __call__(self, text: str) -> None:
        print(text, file=self._stream or sys.stderr, flush=True)

    def task(self, name: str, total: int, done: int = 0, unit: str = "") -> AbstractContextManager[Advance]:
        return self._task(name, total, done, unit)

    @contextmanager
    def _task(self, name: str, total: int, done: int, unit: str) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        console = Console(file=self._stream or sys.stderr)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        first, at, start = done, done, time.monotonic()
        shown: dict[str, float | str] = {}
        with RichProgress(*columns, console=console) as bars:
            bar = bars.add_task(name, total=total, completed=done, facts="")

            def advance(count: int = 1, *, total: int | None = None, **facts: float | str) -> None:
                nonlocal at
                at += count
                shown.update(facts)
                rate = (at - first) / max(time.monotonic() - start, 1e-9)
                text = " ".join([f"{rate:.3g} {unit or 'item'}/s", *_texts(shown)])
                bars.update(bar, completed=at, facts=text, total=total)  # None leaves it

            yield advance


def make_progress(quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """Bars where ``stream`` (stderr) is a terminal, lines where it is not, nothing when ``quiet``."""
    if quiet:
        return Silent()
    out = stream or sys.stderr
    return Bars(out) if out.isatty() else Lines(lambda text: print(text, file=out, flush=True))


def clock_face(seconds: float) -> str:
    """``75`` as ``1:15``, ``3675`` as ``1:01:15``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _texts(facts: dict[str, float | str]) -> list[str]:
    return [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()]


def _ignore(count: int = 1, *, total: int | None = None, **facts: float | str) -> None:
    pass
