"""A conversation's media find the model's inputs, and its newest turns find room."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.data.messages import MediaPart, Message, TextPart
from sensorium.errors import DataError
from sensorium.models.processor import Processor
from sensorium.models.turns import addressed, context_length, fitted, media_inputs
from tests.small_data import picture
from tests.tiny_models import model_of, processor_of

RED = picture("red", np.random.default_rng(0))


def processor(**inputs: str) -> Processor:
    return processor_of({**(inputs or {"look": "image"}), "question": "text"})


def turn(role: str, text: str, *media: MediaPart) -> Message:
    return Message(role, (*media, TextPart(text)))  # type: ignore[arg-type]


def shown(column: str = "image_url") -> MediaPart:
    return MediaPart("image", column, RED)


def test_a_picture_goes_to_the_first_input_of_its_kind() -> None:
    made = processor(zebra="image", apple="image", hear="audio")
    assert media_inputs(made) == {"image": "apple", "audio": "hear"}
    [message] = addressed([turn("user", "what?", shown(), shown("zebra"))], made)
    assert [part.column for part in message.parts if isinstance(part, MediaPart)] == ["apple", "zebra"]


def test_a_kind_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(DataError, match="this model takes no sound"):
        addressed([turn("user", "what?", MediaPart("audio", "input_audio", b""))], processor())


@pytest.mark.parametrize("fusion", ["tokens", "cross_attention"])
def test_whole_turns_are_left_out_from_the_oldest_on(fusion: str) -> None:
    made = processor_of({"look": "image", "question": "text"}, fusion={"kind": fusion})
    system = turn("system", "be brief")
    turns = [
        message
        for n in range(4)
        for message in (turn("user", f"question {n}", shown("look")), turn("assistant", f"answer {n}"))
    ]
    turns = [*turns, turn("user", "the last one")]
    lengths = []
    for left in (0, 2, 4, 6, 8):
        alone = fitted([system, *turns[left:]], made, 10_000)
        assert alone.left_out == 0
        lengths.append(len(alone.sequence.ids))
        exact = fitted([system, *turns], made, lengths[-1])
        assert exact.left_out == left
        assert exact.sequence.ids == alone.sequence.ids
        assert len(exact.sequence.media) == (8 - left) // 2  # pictures go with their turns
    assert lengths == sorted(lengths, reverse=True)
    with pytest.raises(DataError, match=f"the newest message takes {lengths[-1]} tokens of {lengths[-1] - 1}"):
        fitted([system, *turns], made, lengths[-1] - 1)


def test_the_context_is_the_gpts() -> None:
    made = processor()
    assert context_length(model_of(made)) == 2048
