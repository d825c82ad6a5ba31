"""Ctrl-C and SIGTERM as a wish that the loop reads between steps."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

SAME_EVENT_SECONDS = 1.0  # on Ctrl-C a launcher sends SIGTERM to processes that got the terminal's SIGINT already


@dataclass
class Stop:
    """``requested`` becomes true at the first signal."""

    requested: bool = False
    _signal: int = 0
    _time: float = 0.0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """First signal: ask. Second: leave at once, without clean-up; the last checkpoint is whole."""
        if not self.requested:
            self.requested, self._signal, self._time = True, number, time.monotonic()
        elif number == self._signal or time.monotonic() - self._time > SAME_EVENT_SECONDS:
            os._exit(128 + number)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Watch SIGINT and SIGTERM inside the block; elsewhere than in the main thread signals are left alone."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[int, Any] = {n: signal.signal(n, stop.handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
