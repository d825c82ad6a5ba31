"""Chat with a translator: what the user's last turn says is translated whole, its first picture shown beside it.

The system message names the direction (``en-de``) or the language wanted (``de``); it may be left out where the run knows
one direction alone. Earlier turns are not read: a translation does not depend on them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from sensorium.data.messages import MediaPart, Message
from sensorium.errors import DataError, MediaError
from sensorium.serving.protocols import Draining, Expired, Piece, Sampling, TooLong
from sensorium.serving.service import TranslateTexts
from sensorium.serving.single_file import SingleFile
from sensorium.tasks.translation_directions import chosen_direction


@dataclass
class Translated:
    """An answer that comes in one piece."""

    prompt_tokens: int
    work: Callable[[], str]
    engine: TranslatingEngine
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
            count = self.engine.translator.tokens([text])[0]
            self.engine.made += count
            yield Piece(text, count=count, finish="stop")
        finally:
            self.engine.running -= 1


class TranslatingEngine:
    """Answers chats with translations; see ``protocols.Engine``. Searches are greedy or by beam as the run has it."""

    def __init__(self, translator: TranslateTexts) -> None:
        self.translator, self.turn = translator, SingleFile()
        self.running, self.made, self.draining = 0, 0, False

    async def submit(
        self, messages: list[Message], sampling: Sampling, *, seconds: float | None = None, key: str = ""
    ) -> Translated:
        """Queue a translation.

        Raises:
            Draining, TooLong; DataError: nothing to translate, no such direction, or a form that no translation has.
        """
        if self.draining:
            raise Draining
        if sampling.grammar is not None or sampling.top_logprobs is not None:
            raise DataError("a translation has no other form and no log-probabilities", mend="leave them out")
        told = next(message for message in reversed(messages) if message.role == "user")
        text = " ".join(told.text.split())
        if not text:
            raise DataError("there is nothing to translate", mend="send a text")
        source, target = self._direction([m.text.strip() for m in messages if m.role == "system"])
        picture = self._picture(told)
        tokens = self.translator.tokens([text])[0]
        if tokens > self.translator.most_tokens:
            raise TooLong(tokens, self.translator.most_tokens)
        ends = None if seconds is None else time.monotonic() + seconds
        return Translated(tokens, lambda: self.translator([text], source, target, picture)[0], self, ends)

    def _direction(self, system: list[str]) -> tuple[str, str]:
        asked = system[-1] if system else None
        for direction in self.translator.directions:
            if asked is not None and asked.lower() == direction.lower():
                source, _, target = direction.partition("-")
                return source, target
        return chosen_direction(self.translator.directions, None, asked)

    def _picture(self, told: Message) -> bytes | None:
        shown = [part for part in told.parts if isinstance(part, MediaPart)]
        if not shown:
            return None
        if len(shown) > 1 or shown[0].type != "image" or not self.translator.sees_pictures:
            most = "one picture" if self.translator.sees_pictures else "no pictures and no sounds"
            raise MediaError(f"this run looks at {most}", mend="leave the rest out")
        data = shown[0].reference
        assert isinstance(data, bytes)  # the door let it in
        return data

    async def drain(self, seconds: float) -> bool:
        """Take nothing new, wait for running translations; whether all ended in time."""
        self.draining = True
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:
            await asyncio.sleep(0.02)
        return not self.running

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics."""
        return {"running": self.running, "waiting": 0, "tokens_generated": self.made}
