"""What the HTTP side asks of an engine, and what it gets back. Neither side knows more of the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from sensorium.data.messages import Message

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Sampling:
    """How one answer is drawn.

    Attributes:
        max_tokens: tokens at the most; None: what the context leaves.
        temperature: 0 is greedy. top_p: smallest set of tokens that reaches it (Holtzman et al. 2020).
        stop: texts that end an answer; they are left out of it.
        seed: of sampling; None draws one.
        top_logprobs: None: no log-probabilities; else those of each token and of so many of the likeliest.
        grammar: what the answer must match, as a grammar of llguidance in JSON; None: anything.
    """

    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_logprobs: int | None = None
    grammar: str | None = None


@dataclass(frozen=True)
class ScoredToken:
    """A token's text, its bytes, and log P in nats; ``top`` are the likeliest ones at its place, itself not always among them."""

    text: str
    data: bytes
    logprob: float
    top: tuple[ScoredToken, ...] = ()


@dataclass(frozen=True)
class Piece:
    """What an answer grew by: whole characters, never a part of a stop text. The last piece has ``finish``."""

    text: str = ""
    tokens: tuple[ScoredToken, ...] = ()  # only where log-probabilities were asked for
    count: int = 0  # tokens generated since the last piece, whether or not they made text yet
    finish: Finish | None = None


class Full(Exception):
    """The queue is full: try again after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the queue is full")
        self.seconds = seconds


class TooLong(Exception):
    """The prompt does not fit the context: it takes ``tokens``, and ``limit`` are there."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"the prompt takes {tokens} tokens of {limit}")
        self.tokens, self.limit = tokens, limit


class Draining(Exception):
    """The engine takes nothing new: it is going down."""


class Expired(Exception):
    """The request's deadline passed before its answer was whole. Raised while iterating over an answer."""


class BadGrammar(Exception):
    """The grammar cannot be compiled; the text says why, in one line."""


class Answer(Protocol):
    """An answer on its way. Leaving the iteration early, or ``cancel``, frees its place in the batch at the next token."""

    prompt_tokens: int
    cached_tokens: int  # of the prompt, found in the prefix cache

    def __aiter__(self) -> AsyncIterator[Piece]: ...

    def cancel(self) -> None: ...


class Engine(Protocol):
    """Answers many requests at once."""

    async def submit(
        self, messages: list[Message], sampling: Sampling, *, seconds: float | None = None, key: str = ""
    ) -> Answer:
        """Queue a request. Media references of ``messages`` hold bytes; they are decoded off the event loop.

        Args:
            seconds: deadline, counted from now. key: a request's id, for logs.

        Raises:
            Full, TooLong, Draining, BadGrammar, or MediaError where a picture or sound cannot be read.
        """
        ...

    async def drain(self, seconds: float) -> bool:
        """Take nothing new, wait for running answers; whether all ended in time."""
        ...

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics: running, waiting, tokens_generated, prompt_tokens, prefix_cache_hits, …"""
        ...
