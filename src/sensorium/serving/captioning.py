"""Chat with a run that draws: the picture of the user's last turn gets its caption.

What is written beside the picture and in earlier turns is not read: such a run says what it sees, and nothing else.
"""

from __future__ import annotations

from functools import partial

from sensorium.data.messages import MediaPart, Message
from sensorium.errors import DataError, MediaError
from sensorium.serving.service import Draw
from sensorium.serving.whole_answers import Asked, WholeAnswers


def captioning_engine(drawer: Draw) -> WholeAnswers:
    """Answers chats with captions."""
    return WholeAnswers(partial(_asked, drawer), drawer.tokens, "a caption")


def _asked(drawer: Draw, messages: list[Message]) -> Asked:
    """Raises DataError where there is no picture, MediaError where there is more than one, or a sound."""
    told = next(message for message in reversed(messages) if message.role == "user")
    shown = [part for part in told.parts if isinstance(part, MediaPart)]
    if not shown:
        raise DataError(
            "in a chat this run says what a picture shows, and there is none",
            mend="send one, or ask /v1/images/generations to have one drawn",
        )
    if len(shown) > 1 or shown[0].type != "image":
        raise MediaError("this run looks at one picture at a time", mend="leave the rest out")
    data = shown[0].reference
    assert isinstance(data, bytes)  # the door let it in
    return Asked(drawer.codes, lambda: drawer.caption(data))
