"""What a run can answer over HTTP, as the functions that serving asks for."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium import assets
from sensorium.data.collate import Batch, collate
from sensorium.data.media import read_media
from sensorium.data.messages import MediaPart, Message
from sensorium.data.rows import CONVERT, Example
from sensorium.errors import DataError
from sensorium.jobs.feed import Feed
from sensorium.jobs.opened import Model
from sensorium.jobs.recommend import OpenedRecommender
from sensorium.modalities import audio
from sensorium.models.turns import addressed
from sensorium.serving.engine.batching import BatchingEngine, EngineSettings
from sensorium.serving.routes.recommend_schemas import Reason, Recommendation, RecommendationList, RecommendRequest
from sensorium.serving.service import Labelled, Parts, Spoken

log = logging.getLogger("sensorium.serving")
WHISPER = "whisper-tiny.en"
LONGEST_SPOKEN = 3600.0  # s; the door has refused what is longer than its own limit


def make_parts(model: Model | OpenedRecommender, settings: EngineSettings) -> Parts:
    """All that an opened run can answer: conversations or classes, vectors, and speech where the recogniser is cached;
    or lists of items and nothing else."""
    if isinstance(model, OpenedRecommender):
        return Parts(recommend=Lister(model))
    model.model.eval()
    model.processor.read_media = partial(read_media, root=None)  # over HTTP there are no files
    talks = model.processor.settings.task == "generate"
    return Parts(
        engine=BatchingEngine(model.model, model.processor, settings) if talks else None,
        embed=partial(embed, model),
        classify=None if talks else Classifier(model),
        transcribe=whisper(),
        transcribe_names=("whisper-1", WHISPER),
    )


# -- classes ---------------------------------------------------------------------------------------


class Classifier:
    """Rows to classes, or to numbers; see ``serving.service.Classify``."""

    def __init__(self, model: Model) -> None:
        self.model, self.columns = model, {name: str(kind) for name, kind in model.schema.inputs.items()}

    def __call__(self, rows: list[dict[str, Any]]) -> list[Labelled]:
        model = self.model
        examples = [Example(i, _cells(row, self.columns), None) for i, row in enumerate(rows)]
        feed = Feed(examples, model.processor, model.recipe.evaluation.batch_size)  # type: ignore[arg-type]
        answers = model.task.predict(model.model, feed, list(range(len(rows))))
        if answers.probabilities is None:
            return [Labelled(value=float(value)) for value in answers.predictions]
        classes = model.processor.settings.classes or []
        return [
            Labelled(label=label, probabilities=dict(zip(classes, map(float, shares))))
            for label, shares in zip(answers.predictions, answers.probabilities)
        ]


def _cells(row: dict[str, Any], columns: dict[str, str]) -> dict[str, Any]:
    """Cells as a table's rows have them; bytes of media need no path."""
    given = {name: {"bytes": cell, "path": None} if isinstance(cell, bytes) else cell for name, cell in row.items()}
    return {name: CONVERT[kind](given.get(name)) for name, kind in columns.items()}


# -- lists ------------------------------------------------------------------------------------------


class Lister:
    """Users and histories to lists; see ``serving.service.Recommend``."""

    def __init__(self, opened: OpenedRecommender) -> None:
        self.opened, self.dated = opened, opened.age is not None
        opened.warm()  # the first client waits no longer than the others

    def knows(self, title: str) -> bool:
        return self.opened.find(title) is not None

    def __call__(self, asked: RecommendRequest) -> RecommendationList:
        found = self.opened.recommend(
            asked.history,
            user=asked.user,
            top=asked.top or 10,
            because=bool(asked.because),
            diversity=asked.diversity or 0.0,
            freshness=asked.freshness or 0.0,
            exclude_seen=not asked.seen,
        )
        data = [
            Recommendation(
                index=i,
                item=one.item,
                title=one.title,
                score=one.score,
                because=[Reason.model_validate(asdict(why)) for why in one.reasons] if asked.because else None,
            )
            for i, one in enumerate(found.items)
        ]
        return RecommendationList(data=data, model="", known=found.known, notes=found.notes)


# -- vectors ---------------------------------------------------------------------------------------


@torch.inference_mode()
def embed(model: Model, messages: list[Message]) -> tuple[np.ndarray, int]:
    """A vector for each message, of length one: (messages, width) float32, and the tokens that were read.

    Of a late fusion its fused vector; else the mean of the GPT's last hidden states, into which the media were fused.

    Raises:
        DataError: the model takes no such input. MediaError: a picture or sound cannot be read.
    """
    found, tokens = [], 0
    for message in messages:
        batch = _batch(model, message)
        tokens += int((batch.branches >= 0).sum())
        vector = model.model.fused(batch) if model.model.late else model.model.reading(batch)
        found.append(torch.nn.functional.normalize(vector.float(), dim=1).cpu().numpy())
    return np.concatenate(found), tokens


def _batch(model: Model, message: Message) -> Batch:
    processor = model.processor
    if processor.settings.task == "generate":
        example = Example(0, {"messages": addressed([message], processor)}, None)
        return collate([processor.sequence([example], answering=True)])
    return collate([processor.sequence([Example(0, _as_row(message, model), None)])])


def _as_row(message: Message, model: Model) -> dict[str, Any]:
    """A message's parts as cells: each takes the next column of its kind. Raises DataError where there is none."""
    columns = {name: str(kind) for name, kind in model.schema.inputs.items()}
    row: dict[str, Any] = {}
    for part in message.parts:
        kind = part.type if isinstance(part, MediaPart) else "text"
        free = next((name for name, of in columns.items() if of == kind and name not in row), None)
        if free is None:
            raise DataError(f"this model has no input left for a part of type {kind}", mend="leave the part out")
        row[free] = part.reference if isinstance(part, MediaPart) else part.text
    return _cells(row, columns)


# -- speech ----------------------------------------------------------------------------------------


def whisper() -> Whisper | None:
    """The recogniser of the assets where it is cached: a server downloads nothing."""
    state = next(state for state in assets.states() if state.asset.name == WHISPER)
    if state.state != "ready":
        log.info("speech is not transcribed: %s is not cached; sensorium assets pull %s", WHISPER, WHISPER)
        return None
    return Whisper(state.path / "ctranslate2")


class Whisper:
    """Sounds to text with faster-whisper; its weights are read at the first sound."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._model: Any = None

    def __call__(self, data: bytes, language: str | None, prompt: str | None) -> Spoken:
        """What is said. ``language`` is a hint to models of several languages. Raises MediaError where it is no sound."""
        samples = audio.decode(data, max_seconds=LONGEST_SPOKEN)
        if self._model is None:
            from faster_whisper import WhisperModel

            self._model = WhisperModel(str(self.folder), device="cpu", compute_type="int8", local_files_only=True)
        hint = language if self._model.model.is_multilingual else "en"
        segments, about = self._model.transcribe(samples, language=hint, initial_prompt=prompt)
        told = [(float(each.start), float(each.end), each.text.strip()) for each in segments]
        text = " ".join(words for _, _, words in told)
        return Spoken(text, about.language, len(samples) / audio.RATE, told)
