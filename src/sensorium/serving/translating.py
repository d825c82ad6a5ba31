"""Chat with a translator: what the user's last turn says is translated whole, its first picture shown beside it.

The system message names the direction (``en-de``) or the language wanted (``de``); it may be left out where the run knows
one direction alone. Earlier turns are not read: a translation does not depend on them.
"""

from __future__ import annotations

from functools import partial

from sensorium.data.messages import MediaPart, Message
from sensorium.errors import DataError, MediaError
from sensorium.serving.protocols import TooLong
from sensorium.serving.service import TranslateTexts
from sensorium.serving.whole_answers import Asked, WholeAnswers
from sensorium.tasks.translation_directions import chosen_direction


def translating_engine(translator: TranslateTexts) -> WholeAnswers:
    """Answers chats with translations. Searches are greedy or by beam as the run has it."""
    return WholeAnswers(partial(_asked, translator), lambda text: translator.tokens([text])[0], "a translation")


def _asked(translator: TranslateTexts, messages: list[Message]) -> Asked:
    """Raises TooLong; DataError: nothing to translate, no such direction, or a picture that the run does not look at."""
    told = next(message for message in reversed(messages) if message.role == "user")
    text = " ".join(told.text.split())
    if not text:
        raise DataError("there is nothing to translate", mend="send a text")
    source, target = _direction(translator, [m.text.strip() for m in messages if m.role == "system"])
    picture = _picture(translator, told)
    tokens = translator.tokens([text])[0]
    if tokens > translator.most_tokens:
        raise TooLong(tokens, translator.most_tokens)
    return Asked(tokens, lambda: translator([text], source, target, picture)[0])


def _direction(translator: TranslateTexts, system: list[str]) -> tuple[str, str]:
    asked = system[-1] if system else None
    for direction in translator.directions:
        if asked is not None and asked.lower() == direction.lower():
            source, _, target = direction.partition("-")
            return source, target
    return chosen_direction(translator.directions, None, asked)


def _picture(translator: TranslateTexts, told: Message) -> bytes | None:
    shown = [part for part in told.parts if isinstance(part, MediaPart)]
    if not shown:
        return None
    if len(shown) > 1 or shown[0].type != "image" or not translator.sees_pictures:
        most = "one picture" if translator.sees_pictures else "no pictures and no sounds"
        raise MediaError(f"this run looks at {most}", mend="leave the rest out")
    data = shown[0].reference
    assert isinstance(data, bytes)  # the door let it in
    return data
