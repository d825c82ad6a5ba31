"""An engine that answers without a model, and an application around it: what the HTTP side is tested with."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import soundfile
from PIL import Image

from sensorium.data.messages import MediaPart, Message
from sensorium.errors import DataError
from sensorium.modalities import audio, image
from sensorium.serving.api import make_app
from sensorium.serving.door.fetch import Fetcher
from sensorium.serving.door.gate import Gate
from sensorium.serving.protocols import Draining, Full, Piece, Sampling, ScoredToken, TooLong
from sensorium.serving.routes.recommend_schemas import Reason, Recommendation, RecommendationList, RecommendRequest
from sensorium.serving.server import Server, bind
from sensorium.serving.service import Labelled, Parts, Picture, Spoken
from sensorium.serving.settings import Settings

KEY = "sk-a-key-for-tests-only"


@dataclass
class FakeAnswer:
    """Says ``words`` one after another, ``pause`` seconds apart; breaks off with ``error`` before the last."""

    words: list[str]
    sampling: Sampling
    pause: float
    error: Exception | None
    engine: FakeEngine
    prompt_tokens: int = 7
    cached_tokens: int = 2
    cancelled: bool = False
    ended: bool = False

    def cancel(self) -> None:
        if not self.ended and not self.cancelled:
            self.cancelled = True
            self.engine.cancelled += 1
            self.engine.running -= 1

    async def __aiter__(self) -> AsyncIterator[Piece]:  # type: ignore[override]
        limit = self.sampling.max_tokens or len(self.words)
        for i, word in enumerate(self.words[:limit]):
            await asyncio.sleep(self.pause)
            if self.error is not None and i == len(self.words) - 1:
                raise self.error
            yield Piece(text=word, count=1, tokens=self._scored(word))
        self.ended = True
        self.engine.running -= 1
        yield Piece(finish="stop" if limit >= len(self.words) else "length")

    def _scored(self, word: str) -> tuple[ScoredToken, ...]:
        if self.sampling.top_logprobs is None:
            return ()
        others = tuple(ScoredToken(f"o{i}", b"o", -2.0 - i) for i in range(self.sampling.top_logprobs))
        return (ScoredToken(word, word.encode(), -0.5, others),)


@dataclass
class FakeEngine:
    """Decodes media as a real one does, and remembers what it was asked."""

    words: list[str] = field(default_factory=lambda: ["A ", "red ", "fox."])
    pause: float = 0.0
    error: Exception | None = None
    full: bool = False
    asked: list[tuple[list[Message], Sampling]] = field(default_factory=list)
    cancelled: int = 0
    running: int = 0
    draining: bool = False

    async def submit(
        self, messages: list[Message], sampling: Sampling, *, seconds: float | None = None, key: str = ""
    ) -> FakeAnswer:
        if self.draining:
            raise Draining
        if self.full:
            raise Full(3.0)
        for message in messages:
            for part in message.parts:
                if isinstance(part, MediaPart):
                    decode: Any = image.decode if part.type == "image" else audio.decode
                    await asyncio.to_thread(decode, part.reference)
        if sum(len(message.text) for message in messages) > 100_000:
            raise TooLong(50_000, 2048)
        self.asked.append((messages, sampling))
        self.running += 1
        return FakeAnswer(self.words, sampling, self.pause, self.error, self)

    async def drain(self, seconds: float) -> bool:
        self.draining = True
        end = asyncio.get_running_loop().time() + seconds
        while self.running and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        return not self.running

    def gauges(self) -> dict[str, float]:
        return {"running": self.running, "waiting": 0}


class FakeClassify:
    columns: ClassVar = {"picture": "image", "sound": "audio", "words": "text", "size": "number"}

    def __call__(self, rows: list[dict[str, Any]]) -> list[Labelled]:
        for row in rows:
            if row.get("picture") is not None:
                image.decode(row["picture"])
            if row.get("sound") is not None:
                audio.decode(row["sound"])
        return [Labelled("red", None, {"blue": 0.25, "red": 0.75}) for _ in rows]


class FakeRecommend:
    dated = True

    def knows(self, title: str) -> bool:
        return title.startswith("t")

    def __call__(self, asked: RecommendRequest) -> RecommendationList:
        known = asked.user in ("u1", 1) or bool(asked.history)
        reasons = [Reason(kind="history", name="Thing 1", fall=0.5)] if asked.because else None
        data = [
            Recommendation(index=i, item=f"t{i}", title=f"Thing {i}", score=1.0 / (i + 1), because=reasons)
            for i in range(min(asked.top or 10, 30))
        ]
        return RecommendationList(data=data, model="", known=known, notes=[] if known else ["nobody"])


def embed(messages: list[Message]) -> tuple[np.ndarray, int]:
    for message in messages:
        for part in message.parts:
            if isinstance(part, MediaPart):
                (image.decode if part.type == "image" else audio.decode)(part.reference)
    return np.array([[len(m.text), 0.5, -1.0] for m in messages], dtype=np.float32), 4 * len(messages)


def transcribe(data: bytes, language: str | None, prompt: str | None) -> Spoken:
    seconds = len(audio.decode(data)) / audio.RATE
    return Spoken("what is it", "en", seconds, [(0.0, seconds, "what is it")])


class FakeTranslate:
    """Says every text backwards; a word is a token."""

    directions: ClassVar = ["en-de", "en-fr", "de-en"]
    sees_pictures = True
    most_tokens = 50

    def tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def __call__(self, texts: list[str], source: str, target: str, picture: bytes | None) -> list[str]:
        seen = "" if picture is None else f" ({image.decode(picture).shape[0]} px)"
        return [f"{target}: {text[::-1]}{seen}" if text else "" for text in texts]


@dataclass
class FakeDraw:
    """Squares of a colour that the seed decides; an edit is the source's size. A word is a token."""

    size: int = 16
    codes: int = 4
    together: int = 4
    most_tokens: int = 50
    pause: float = 0.0
    error: Exception | None = None
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def tokens(self, text: str) -> int:
        return len(text.split())

    def draw(self, prompt: str, n: int, seed: int) -> list[Picture]:
        return self._pictures(("draw", prompt, n, seed), self.size, self.size)

    def edit(self, picture: bytes, prompt: str, mask: bytes | None, n: int, seed: int) -> list[Picture]:
        height, width = image.decode(picture).shape[:2]
        if mask is not None:
            tall, wide = image.decode(mask).shape[:2]
            if (tall, wide) != (height, width):
                raise DataError(
                    f"the mask is {wide} × {tall}, the picture {width} × {height}", where="mask", mend="mend"
                )
        return self._pictures(("edit", picture, prompt, mask, n, seed), width, height)

    def variations(self, picture: bytes, n: int, seed: int) -> list[Picture]:
        image.decode(picture)
        return self._pictures(("variations", picture, n, seed), self.size, self.size)

    def caption(self, picture: bytes) -> str:
        return f"a picture of {image.decode(picture).shape[1]} px"

    def _pictures(self, asked: tuple[Any, ...], width: int, height: int) -> list[Picture]:
        self.asked.append(asked)
        time.sleep(self.pause)
        if self.error is not None:
            raise self.error
        n, seed = asked[-2:]
        return [
            Picture(png(width, height, colour=(s % 256, 90, 200)), (width, height), s) for s in range(seed, seed + n)
        ]


def parts_of(engine: FakeEngine | None = None, draw: FakeDraw | None = None) -> Parts:
    return Parts(
        engine or FakeEngine(), embed, FakeClassify(), transcribe, recommend=FakeRecommend(), translate=FakeTranslate(),
        draw=draw,
    )  # fmt: skip


def app_of(
    engine: FakeEngine | None = None, fetcher: Fetcher | None = None, *, draw: FakeDraw | None = None, **settings: Any
) -> Gate:
    hosts = ("testserver", "127.0.0.1", "localhost")
    return make_app(parts_of(engine, draw), Settings(name="tiny", **{"hosts": hosts, **settings}), fetcher)


@contextlib.contextmanager
def served(gate: Gate) -> Iterator[str]:
    """The application at a port of this machine, in a thread; its address."""
    sock = bind("127.0.0.1", 0)
    server = Server(gate, None, sock)
    thread = threading.Thread(target=server.run_to_end, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def exchange(port: int, data: bytes, seconds: float = 5.0) -> bytes:
    """What the server says to raw bytes, until it closes or ``seconds`` pass."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(data)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while chunk := connection.recv(65_536):
                found += chunk
    return found


def png(width: int = 8, height: int = 8, colour: tuple[int, int, int] = (220, 30, 30), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG", **options)
    return buffer.getvalue()


def wav(seconds: float = 0.2, rate: int = 16_000, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((int(seconds * rate), channels)), rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def data_url(data: bytes, type_: str = "image/png") -> str:
    return f"data:{type_};base64,{b64(data)}"
