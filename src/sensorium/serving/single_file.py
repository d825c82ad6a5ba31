"""Blocking work beside the engine (vectors, classes, transcripts): one piece at a time, in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sensorium.serving.protocols import Full


class SingleFile:
    """Runs functions one after another.

    Args:
        waiting: at the most; more are refused with ``Full``, as the engine's own queue does.
    """

    def __init__(self, waiting: int = 32) -> None:
        self.waiting, self._inside = waiting, 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="beside-the-engine")

    async def __call__(self, work: Callable[[], Any]) -> Any:
        """What ``work`` returns. One that has not begun when its caller gives up never begins."""
        if self._inside > self.waiting:
            raise Full(2.0)
        self._inside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._inside -= 1

    def close(self) -> None:
        """Let go of the thread, without waiting for it."""
        self._thread.shutdown(wait=False, cancel_futures=True)
