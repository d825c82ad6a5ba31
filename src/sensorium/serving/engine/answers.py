"""One answer on its way: the worker's thread writes it, an event loop reads it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from sensorium.models.detokenise import TextStream
from sensorium.serving.engine.choosing import Chooser
from sensorium.serving.engine.prompts import Prompt
from sensorium.serving.engine.stops import StopTexts
from sensorium.serving.protocols import Finish, Piece, ScoredToken


class Reply:
    """The reader's side: ``protocols.Answer``.

    Attributes:
        prompt_tokens, cached_tokens: of the prompt; the latter are known when the first piece comes.
        ids: tokens so far, the end token left out.
        cancelled: whether nobody reads any more.
    """

    def __init__(self, prompt_tokens: int, wake: Callable[[], None]) -> None:
        self.prompt_tokens, self.cached_tokens = prompt_tokens, 0
        self.ids: list[int] = []
        self.cancelled = False
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        self._over = False

    async def __aiter__(self) -> AsyncIterator[Piece]:
        try:
            while not self._over:
                piece = await self._pieces.get()
                self._over = isinstance(piece, Exception) or piece.finish is not None
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            if not self._over:
                self.cancel()

    def cancel(self) -> None:
        """Nobody waits any more: the place in the batch, or in the queue, is free at the next token."""
        self.cancelled = True
        self._wake()

    def put(self, piece: Piece | Exception) -> None:
        """From the worker's thread."""
        with contextlib.suppress(RuntimeError):  # the reader's loop is closed: nobody is there
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)


class Job:
    """The worker's side of an answer: chooses its tokens and tells their text.

    Attributes:
        finish: why it ended; None while it runs.
        deadline: on ``time.monotonic``'s clock, in s. started: when its prompt was taken up.
    """

    def __init__(
        self, prompt: Prompt, chooser: Chooser, tokenizer: Any, most: int, reply: Reply, deadline: float
    ) -> None:
        self.prompt, self.chooser, self.most, self.reply = prompt, chooser, most, reply
        self.deadline, self.started = deadline, 0.0
        self.finish: Finish | None = None
        self._text = TextStream(tokenizer)
        self._stops = StopTexts(chooser.sampling.stop)
        self._made = self._told = 0  # characters decoded, and characters given away
        self._scored: list[tuple[int, ScoredToken]] = []  # where each token's text begins
        self._count = 0

    def add(self, token: int, scored: ScoredToken | None) -> None:
        """The next token: say what it completes; ``finish`` tells whether it was the last."""
        if token in self.chooser.ends:
            return self._end("stop")
        self.reply.ids.append(token)
        self._count += 1
        if scored is not None:
            self._scored.append((self._made, scored))
        text = self._text.add(token)
        self._made += len(text)
        shown = self._stops.add(text)
        self._told += len(shown)
        if self._stops.stopped:
            return self._last(shown, "stop")
        if self.chooser.take(token):
            return self._end("stop", shown)
        if len(self.reply.ids) == self.most:
            return self._end("length", shown)
        ready = [token for start, token in self._scored if start < self._told]
        self._scored = self._scored[len(ready) :]
        if shown or ready:
            self.reply.put(Piece(shown, tuple(ready), self._count))
            self._count = 0

    def fail(self, why: Exception) -> None:
        """End without an answer."""
        self.finish = "stop"
        self.reply.put(why)

    def _end(self, why: Finish, shown: str = "") -> None:
        """Say what was held back, too; it may still complete a stop text."""
        shown += self._stops.add(self._text.end())
        if not self._stops.stopped:
            shown += self._stops.end()
            self._told = self._made = max(self._made, self._told) + 1  # every token is told
        self._last(shown, "stop" if self._stops.stopped else why)

    def _last(self, shown: str, why: Finish) -> None:
        self.finish = why
        ready = tuple(token for start, token in self._scored if start < self._told)
        self.reply.put(Piece(shown, ready, self._count, why))
