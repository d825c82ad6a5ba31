"""Chat with what answers in one piece: a function makes the text, and what it is asked is read from the conversation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from sensorium.data.messages import Message
from sensorium.errors import DataError
from sensorium.serving.protocols import Draining, Expired, Piece, Sampling
from sensorium.serving.single_file import SingleFile


@dataclass(frozen=True)
class Asked:
    """What a conversation comes to: its tokens, and the work that makes the answer."""

    prompt_tokens: int
    work: Callable[[], str]


@dataclass
class WholeAnswer:
    """An answer that comes in one piece; see ``protocols.Answer``."""

    prompt_tokens: int
    work: Callable[[], str]
    engine: WholeAnswers
    ends: float | None
    cached_tokens: int = 0
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True

    async def __aiter__(self) -> AsyncIterator[Piece]:
        self.engine.running += 1
        try:
            if self.cancelled:
                return
            left = None if self.ends is None else self.ends - time.monotonic()
            try:
                text = await asyncio.wait_for(self.engine.turn(self.work), left)
            except TimeoutError:
                raise Expired from None
            count = self.engine.tokens(text)
            self.engine.made += count
            yield Piece(text, count=count, finish="stop")
        finally:
            self.engine.running -= 1


@dataclass
class WholeAnswers:
    """An engine of such answers, one after another; see ``protocols.Engine``.

    Args:
        read: what is asked; raises DataError or TooLong where it cannot be answered. tokens: counts those of a text.
        name: of an answer, as refusals call it: "a translation".
    """

    read: Callable[[list[Message]], Asked]
    tokens: Callable[[str], int]
    name: str
    turn: SingleFile = field(default_factory=SingleFile)
    running: int = 0
    made: int = 0
    draining: bool = False

    async def submit(
        self, messages: list[Message], sampling: Sampling, *, seconds: float | None = None, key: str = ""
    ) -> WholeAnswer:
        """Queue an answer.

        Raises:
            Draining, TooLong; DataError: what ``read`` refuses, or a form that no such answer has.
        """
        if self.draining:
            raise Draining
        if sampling.grammar is not None or sampling.top_logprobs is not None:
            raise DataError(f"{self.name} has no other form and no log-probabilities", mend="leave them out")
        asked = self.read(messages)
        ends = None if seconds is None else time.monotonic() + seconds
        return WholeAnswer(asked.prompt_tokens, asked.work, self, ends)

    async def drain(self, seconds: float) -> bool:
        """Take nothing new, wait for running answers; whether all ended in time."""
        self.draining = True
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:
            await asyncio.sleep(0.02)
        return not self.running

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics."""
        return {"running": self.running, "waiting": 0, "tokens_generated": self.made}
