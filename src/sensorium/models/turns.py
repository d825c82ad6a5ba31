"""From a conversation as a caller tells it to a prompt that the model's context holds."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sensorium.data import collate
from sensorium.data.messages import MediaPart, Message
from sensorium.data.rows import Example
from sensorium.errors import DataError
from sensorium.models.backbone import causal_lm
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.models.processor import Processor

SENSES = {"image": ("picture", "model.image"), "audio": ("sound", "model.audio")}


@dataclass(frozen=True)
class Prompt:
    """A conversation as one sequence that ends where the answer begins.

    Attributes:
        left_out: how many of the oldest messages, the system's aside, had to stay outside.
    """

    sequence: collate.Sequence
    left_out: int


def context_length(model: MultimodalGPT) -> int:
    """The most tokens that the GPT reads and writes together."""
    return int(causal_lm(model.backbone).config.max_position_embeddings)


def media_inputs(processor: Processor) -> dict[str, str]:
    """The model's input for a conversation's pictures and sounds, by kind: the first of its kind, as of a table."""
    inputs: dict[str, str] = {}
    for name, kind in sorted(processor.settings.encoders.items()):
        if kind in SENSES:
            inputs.setdefault(kind, name)
    if processor.settings.speech != "features":  # a sound is recognised, whether or not an encoder reads it too
        inputs.setdefault("audio", "input_audio")
    return inputs


def addressed(messages: Iterable[Message], processor: Processor) -> list[Message]:
    """Messages whose pictures and sounds name the model's own inputs.

    Raises:
        DataError: the model has no input of that kind.
    """
    inputs = media_inputs(processor)

    def part_of(part: Any) -> Any:
        if not isinstance(part, MediaPart) or part.column in processor.settings.encoders:
            return part
        if part.type not in inputs:
            word, key = SENSES[part.type]
            raise DataError(
                f"this model takes no {word}", mend=f"leave it out, or train with {key} and {word}s in the data"
            )
        return replace(part, column=inputs[part.type])

    return [replace(message, parts=tuple(part_of(part) for part in message.parts)) for message in messages]


def fitted(messages: Sequence[Message], processor: Processor, room: int) -> Prompt:
    """The newest turns that take at most ``room`` tokens, with the system's message always among them.

    Whole turns are left out, from the oldest on, so that what is kept begins with words of the user and no picture
    or sound is cut.

    Raises:
        DataError: the newest turn alone is too long.
        MediaError: a picture or sound cannot be read.
    """
    system = [message for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    starts = [place for place, message in enumerate(turns) if message.role == "user"]
    whole = copy.copy(processor)  # texts are cut where a row is too long; a conversation loses turns instead
    whole.settings = replace(processor.settings, max_text_tokens=room + 1)
    length = 0
    for left_out in [0, *starts[1:]]:
        example = Example(0, {"messages": [*system, *turns[left_out:]]}, None)
        sequence = whole.sequence([example], answering=True, whole=True)
        length = len(sequence.ids)
        if length <= room:
            return Prompt(sequence, left_out)
    raise DataError(f"the newest message takes {length:,} tokens of {room:,}", mend="shorten it")
