"""Blocking work beside the engine (vectors, classes, transcripts): one piece at a time, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from sensorium.serving.protocols import Full

Result = TypeVar("Result")


class SingleFile:
    """Runs functions one after another, in a thread that does not keep the process from ending.

    Args:
        waiting: at the most; more are refused with ``Full``, as the engine's own queue does.
    """

    def __init__(self, waiting: int = 32) -> None:
        self.waiting, self._inside = waiting, 0
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def __call__(self, work: Callable[[], Result]) -> Result:
        """What ``work`` returns. One that has not begun when its caller gives up never begins."""
        if self._inside > self.waiting:
            raise Full(2.0)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="beside-the-engine", daemon=True)
            self._thread.start()
        done: Future[Result] = Future()
        self._inside += 1
        try:
            self._queue.put((done, work))
            return await asyncio.wrap_future(done)
        finally:
            self._inside -= 1

    def _run(self) -> None:
        while True:
            done, work = self._queue.get()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is the caller's to handle
                done.set_exception(error)
