"""From a request to answers of the engine: asked for, followed piece by piece, and given up when the client is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from starlette.requests import Request

from sensorium.data.messages import Message
from sensorium.serving.metrics import Metrics
from sensorium.serving.protocols import Answer, Engine, Finish, Piece, Sampling, ScoredToken

Result = TypeVar("Result")


class Gone(Exception):
    """The client went away: nobody is left to answer."""


@dataclass
class Whole:
    """An answer, whole or so far."""

    text: str = ""
    tokens: list[ScoredToken] = field(default_factory=list)
    count: int = 0
    finish: Finish = "stop"

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.tokens.extend(piece.tokens)
        self.count += piece.count
        self.finish = piece.finish or self.finish


@dataclass
class Asked:
    """Answers on their way to one request, each its own place in the batch.

    Attributes:
        answers: of ``n`` alternatives, in order. metrics: told of tokens and of the time to the first text.
    """

    answers: list[Answer]
    metrics: Metrics
    began: float

    @property
    def prompt_tokens(self) -> int:
        return self.answers[0].prompt_tokens

    @property
    def cached_tokens(self) -> int:
        return self.answers[0].cached_tokens

    def cancel(self) -> None:
        for answer in self.answers:
            answer.cancel()

    async def pieces(self) -> AsyncGenerator[tuple[int, Piece], None]:
        """(which answer, piece) as they come. What goes wrong with one answer ends all of them."""
        queue: asyncio.Queue[tuple[int, Piece | BaseException | None]] = asyncio.Queue(maxsize=64)

        async def follow(index: int, answer: Answer) -> None:
            try:
                async for piece in answer:
                    await queue.put((index, piece))
            except Exception as error:  # noqa: BLE001 - carried over to the one who reads the queue
                await queue.put((index, error))
            await queue.put((index, None))

        tasks = [asyncio.create_task(follow(i, answer)) for i, answer in enumerate(self.answers)]
        left, first = len(tasks), True
        try:
            while left:
                index, piece = await queue.get()
                if isinstance(piece, BaseException):
                    raise piece
                if piece is None:
                    left -= 1
                    continue
                if first and piece.text:
                    self.metrics.first.observe(time.monotonic() - self.began)
                    first = False
                self.metrics.answer.inc(piece.count)
                yield index, piece
        finally:
            self.cancel()
            for task in tasks:
                task.cancel()

    async def whole(self) -> list[Whole]:
        """Every answer to its end."""
        found = [Whole() for _ in self.answers]
        async for index, piece in self.pieces():
            found[index].add(piece)
        return found


async def ask(
    engine: Engine, messages: list[Message], sampling: Sampling, metrics: Metrics, *, n: int, seconds: float, key: str
) -> Asked:
    """Submit a request ``n`` times, each with a seed of its own where one was given.

    Raises:
        what ``Engine.submit`` raises; answers submitted before are given up.
    """
    began, answers = time.monotonic(), list[Answer]()
    try:
        for i in range(n):
            seed = None if sampling.seed is None else sampling.seed + i
            answers.append(
                await engine.submit(
                    messages, replace(sampling, seed=seed), seconds=seconds, key=f"{key}/{i}" if i else key
                )
            )
    except BaseException:
        for answer in answers:
            answer.cancel()
        raise
    metrics.prompt.inc(answers[0].prompt_tokens)
    return Asked(answers, metrics, began)


async def while_there(request: Request, work: Coroutine[Any, Any, Result], metrics: Metrics) -> Result:
    """The result of ``work``, which is given up as soon as the client hangs up. Raises Gone then."""

    async def hangs_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(hangs_up())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        metrics.gone.inc()
        raise Gone
    finally:
        for task in (working, leaving):
            task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await working
