"""What chats ask of a job: features of their pictures and sounds by content, and how long they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sensorium.data.collate import MediaItem, Sequence, collate
from sensorium.data.media import content_hash
from sensorium.data.messages import MediaPart, TextPart
from sensorium.data.rows import Example
from sensorium.jobs.prepare import Prepared
from sensorium.models.encoders import positions
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.models.processor import Processor
from sensorium.models.sequences import turn_tokens
from sensorium.recipe import Recipe
from sensorium.training.feature_cache import Features, cached_features
from sensorium.training.protocols import Progress, Say

ENCODED_TOGETHER = 32
CHARACTERS = 4  # of a token, about


@dataclass
class Coded:
    """A chat input's frozen encoder: the key of its weights and settings, and items -> features (positions, width)."""

    name: str
    key: str
    encode: Callable[[Iterable[MediaItem]], list[Tensor]]


@dataclass
class ChatFeatures:
    """Features of the pictures, or sounds, of chats: called with a part's bytes, or all of a row's.

    Attributes:
        features: of every different content; places: content's hash: its place among them.
        rows: row: hashes of its parts in order.
        anew: bytes -> features, for what is not among them.
    """

    features: Features
    places: dict[str, int]
    rows: dict[int, list[str]]
    anew: Callable[[bytes], Tensor]

    def __call__(self, data: bytes) -> Tensor:
        place = self.places.get(content_hash(data))
        return self.anew(data) if place is None else self.features[place]

    def of_row(self, row: int) -> list[Tensor]:
        """Features of each part of a row that was known beforehand."""
        return [self.features[self.places[digest]] for digest in self.rows.get(row, [])]


def chat_features(
    coded: Coded,
    processor: Processor,
    prepared: Prepared,
    rows: np.ndarray,
    recipe: Recipe,
    folder: Path,
    progress: Progress,
    say: Say,
) -> ChatFeatures:
    """Features of every part of ``rows`` that input ``coded.name`` reads, equal ones computed once."""
    first: dict[str, tuple[int, int]] = {}  # content: where it stands first, to be read again when its turn comes
    of_rows: dict[int, list[str]] = {}
    for row in map(int, rows):
        digests = [content_hash(data) for data in media_bytes(prepared, row, coded.name)]
        of_rows[row] = digests
        for number, digest in enumerate(digests):
            first.setdefault(digest, (row, number))
    digests = list(first)

    def items(places: Iterable[int]) -> Iterator[MediaItem]:
        for place in places:
            row, number = first[digests[place]]
            data = list(media_bytes(prepared, row, coded.name))[number]
            yield processor.item(coded.name, Example(row, {coded.name: data}, None), None, None)

    with progress.task(f"features of {coded.name}", len(digests), unit="items") as advance:
        features = cached_features(
            folder,
            coded.key,
            digests,
            lambda places: coded.encode(items(places)),
            torch.float32,
            recipe.training.cache_gigabytes * 1024**3,
            lambda done, total: advance(done),
            say=say,
        )

    def anew(data: bytes) -> Tensor:
        return coded.encode([processor.item(coded.name, Example(-1, {coded.name: data}, None), None, None)])[0]

    return ChatFeatures(features, {digest: place for place, digest in enumerate(digests)}, of_rows, anew)


def recognise(processor: Processor, prepared: Prepared, rows: np.ndarray, progress: Progress) -> None:
    """Have every sound of ``rows`` heard once, so that it is known when its words are needed; for chats."""
    if processor.recogniser is None:
        return
    with progress.task("speech recognised", len(rows), unit="rows") as advance:
        for row in map(int, rows):
            for data in media_bytes(prepared, row, "input_audio"):
                processor.recogniser(data)
            advance(1)


def media_bytes(prepared: Prepared, row: int, column: str) -> Iterator[bytes]:
    """The bytes of a chat's parts of one kind, in order."""
    for message in prepared.rows[row].inputs["messages"]:
        for part in message.parts:
            if isinstance(part, MediaPart) and part.column == column:
                yield prepared.read_media(part.reference)


@torch.inference_mode()
def encoded(model: MultimodalGPT, items: Iterable[MediaItem]) -> list[Tensor]:
    """Items of one input that hold values -> features (positions, width) of each, by its encoder."""
    found: list[Tensor] = []
    waiting = iter(items)
    while some := list(islice(waiting, ENCODED_TOGETHER)):
        name = some[0].column
        features = model.features(name, collate([Sequence([], [], [], [], [item], []) for item in some]).media[name])
        found += [row[: item.positions].clone() for row, item in zip(features, some, strict=True)]
    return found


def chat_characters(prepared: Prepared, processor: Processor, rows: np.ndarray) -> np.ndarray:
    """(rows of the table,) about how many characters each of ``rows`` is long, its media and turns told as some."""
    sizes = np.zeros(len(prepared.source), dtype=np.int32)
    seconds = 2  # of a sound; a row is bucketed by it, no more
    kinds = {"image_url": "image", "input_audio": "audio"}
    for row in map(int, rows):
        for message in prepared.rows[row].inputs["messages"]:
            sizes[row] += CHARACTERS * turn_tokens(processor.tokenizer)
            for part in message.parts:
                if isinstance(part, TextPart):
                    sizes[row] += len(part.text)
                elif part.column in processor.settings.encoders and processor.fusion.kind == "tokens":
                    sizes[row] += CHARACTERS * positions(kinds[part.column], 1000 * seconds, processor.fusion)
                if isinstance(part, MediaPart) and part.type == "audio" and processor.settings.speech != "features":
                    sizes[row] += 15 * seconds  # of speech
    return np.minimum(sizes, CHARACTERS * (processor.settings.context or 1 << 20)).astype(np.int32)
