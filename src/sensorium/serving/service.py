"""What a server is made of: the engine and the few functions beside it, handed in by whoever opened the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sensorium.data.messages import Message
from sensorium.serving.door.media import Door
from sensorium.serving.errors import ApiError, invalid
from sensorium.serving.metrics import Metrics
from sensorium.serving.protocols import Engine
from sensorium.serving.routes.recommend_schemas import RecommendationList, RecommendRequest
from sensorium.serving.settings import Settings
from sensorium.serving.single_file import SingleFile


@dataclass(frozen=True)
class Labelled:
    """A row's answer: a class with the probability of each, or a number."""

    label: str | None = None
    value: float | None = None
    probabilities: dict[str, float] | None = None


@dataclass(frozen=True)
class Spoken:
    """What was said: the text, its language (ISO 639-1), the sound's length and (start, end, text) of its parts in s."""

    text: str
    language: str
    seconds: float
    segments: list[tuple[float, float, str]] = field(default_factory=list)


class Classify(Protocol):
    """Names the class of rows. ``columns``: the type of each input by its name; media cells hold bytes."""

    columns: dict[str, str]

    def __call__(self, rows: list[dict[str, Any]]) -> list[Labelled]: ...


class Recommend(Protocol):
    """Lists items. ``dated``: whether freshness can be asked for; ``knows``: whether a text names an item, at once."""

    dated: bool

    def knows(self, title: str) -> bool: ...

    def __call__(self, asked: RecommendRequest) -> RecommendationList: ...


class TranslateTexts(Protocol):
    """Translates texts, with a picture's bytes or None. ``directions``: as "en-de"; ``tokens`` counts those of each text."""

    directions: list[str]
    sees_pictures: bool
    most_tokens: int

    def tokens(self, texts: list[str]) -> list[int]: ...

    def __call__(self, texts: list[str], source: str, target: str, picture: bytes | None) -> list[str]: ...


@dataclass(frozen=True)
class Picture:
    """A drawn picture as a PNG file, its (width, height) in pixels, and the seed that draws it again."""

    png: bytes
    size: tuple[int, int]
    seed: int


class Draw(Protocol):
    """Draws pictures, changes them, and says what they show. Picture number i of a call has the seed ``seed + i``.

    ``size``: pixels a side of what is drawn; ``codes``: tokens of a picture; ``together``: pictures drawn at once;
    ``most_tokens``: of a prompt, ``tokens`` counts them. Pictures and masks are files' bytes. What is refused is raised as
    SensoriumError, its place ``image``, ``mask`` or ``prompt``.
    """

    size: int
    codes: int
    together: int
    most_tokens: int

    def tokens(self, text: str) -> int: ...

    def draw(self, prompt: str, n: int, seed: int) -> list[Picture]: ...

    def edit(self, picture: bytes, prompt: str, mask: bytes | None, n: int, seed: int) -> list[Picture]: ...

    def variations(self, picture: bytes, n: int, seed: int) -> list[Picture]: ...

    def caption(self, picture: bytes) -> str: ...


Embed = Callable[[list[Message]], tuple[np.ndarray, int]]  # conversations of one turn -> (n, width) float32, tokens
Transcribe = Callable[[bytes, str | None, str | None], Spoken]  # a sound's bytes, language, prompt


@dataclass(frozen=True)
class Parts:
    """What can be asked; None: this run does not answer that.

    Attributes:
        engine: answers conversations. embed, classify, transcribe, recommend, translate, draw: block, so they run in threads,
            one call at a time.
        transcribe_names: names of the model that transcribes.
    """

    engine: Engine | None = None
    embed: Embed | None = None
    classify: Classify | None = None
    transcribe: Transcribe | None = None
    transcribe_names: tuple[str, ...] = ("whisper-1",)
    recommend: Recommend | None = None
    translate: TranslateTexts | None = None
    draw: Draw | None = None


# What a refusal does not send people to: not what a run is for, or said by the route before it.
_BESIDE = ("/v1/responses", "/v1/embeddings", "/v1/images/edits", "/v1/images/variations")


@dataclass
class Service:
    """All that the routes share."""

    parts: Parts
    settings: Settings
    door: Door
    metrics: Metrics
    turn: SingleFile
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def engine(self) -> Engine:
        if self.parts.engine is None:
            raise self.cannot("does not converse")
        return self.parts.engine

    def cannot(self, what: str) -> ApiError:
        """The refusal of a route that this run does not answer, with the one that it does."""
        mend = " or ".join(route for route in self.routes() if route not in _BESIDE)
        return invalid(f"this run {what}; ask {mend or '/v1/models'}", "model", "unsupported_model")

    def routes(self) -> list[str]:
        """Of those that some runs alone answer, the ones that this one does."""
        parts = self.parts
        answers = {
            "/v1/chat/completions": parts.engine,
            "/v1/responses": parts.engine,
            "/v1/embeddings": parts.embed,
            "/v1/classify": parts.classify,
            "/v1/recommend": parts.recommend,
            "/v1/translate": parts.translate,
            "/v1/images/generations": parts.draw,
            "/v1/images/edits": parts.draw,
            "/v1/images/variations": parts.draw,
        }
        return [route for route, part in answers.items() if part is not None]

    def check_model(self, name: str, names: tuple[str, ...] | None = None) -> None:
        """Refuse a model that is not served."""
        if name not in (names or (self.settings.name,)):
            raise invalid("there is no such model here; see /v1/models", "model", "model_not_found", status=404)
