"""Validation loss against time: a clock that stops while one measures, curves, and what memory was at its most."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Clock:
    """Seconds since it was made, without what ran under ``paused``."""

    def __init__(self) -> None:
        self._start, self._out = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start - self._out

    @contextmanager
    def paused(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._out += time.monotonic() - began


@dataclass
class Watch:
    """Called after every optimiser step: keeps its time, and every so many steps the validation loss.

    Args:
        clock: of the whole job.
        loss: gives the mean validation loss and the number of tokens that it is a mean of; None: only time is kept.
        every: steps between two measurements.
    """

    clock: Clock
    loss: Callable[[], tuple[float, int]] | None = None
    every: int = 1
    points: list[dict[str, float]] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    tokens: int = 0
    evaluation_seconds: float = 0.0

    def __call__(self) -> None:
        self.ends.append(self.clock.seconds)
        if self.loss is not None and len(self.ends) % self.every == 0:
            self.measure()

    def measure(self) -> float:
        """The loss now, once a step."""
        assert self.loss is not None
        if not self.points or self.points[-1]["step"] != len(self.ends):
            at, began = self.clock.seconds, time.monotonic()
            with self.clock.paused():
                value, self.tokens = self.loss()
            self.evaluation_seconds += time.monotonic() - began
            self.points.append({"seconds": at, "step": len(self.ends), "loss": value})
            print(f"  {at:7.1f} s  step {len(self.ends):5d}  validation loss {value:.4f}", flush=True)
        return self.points[-1]["loss"]

    def seconds_per_step(self, warm: int = 2) -> float:
        """Mean over this watch's steps but the first ``warm``."""
        steps = len(self.ends) - warm
        if steps < 1:
            raise ValueError(f"{len(self.ends)} steps are too few to leave {warm} out")
        return (self.ends[-1] - self.ends[warm - 1]) / steps


def best(points: Sequence[dict[str, float]]) -> dict[str, float]:
    """The point with the least loss, the earliest of equal ones."""
    return min(points, key=lambda point: (point["loss"], point["seconds"]))


def reaches(points: Sequence[dict[str, float]], loss: float) -> float | None:
    """Seconds at the first measurement with at most ``loss``; None where there is none."""
    return next((point["seconds"] for point in points if point["loss"] <= loss), None)


class PeakMemory:
    """The most anonymous memory (bytes) of this process, looked at ten times a second, and the most that was resident.

    Anonymous memory is what it needs; resident memory counts pages of mapped files too, which the system may drop.
    """

    def __init__(self) -> None:
        self.anonymous = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            self.anonymous = max(self.anonymous, status_bytes("RssAnon"))

    def to_dict(self) -> dict[str, Any]:
        return {"peak_anonymous": self.anonymous, "peak_resident": status_bytes("VmHWM")}


def status_bytes(name: str, process: str = "self") -> int:
    """A field of ``/proc/PROCESS/status`` in bytes; 0 where there is none."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(f"{name}:")), 0)
