"""A conversation before it becomes tokens: its newest turns, sounds in words, a row's cells in its first turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from sensorium.data.messages import MediaPart, Message, TextPart

Parts = tuple[TextPart | MediaPart, ...]
Size = tuple[int, int]  # tokens of text, positions of media


def newest(messages: Sequence[Message], size: Callable[[Message], Size], text: int, whole: int | None) -> list[Message]:
    """Every system turn, and as many of the newest others as fit; what is kept of these begins with a user's turn.

    The last user's turn and what follows it always stay, however long. Turns are kept or left out whole, so that
    no picture or sound is ever cut.

    Args:
        size: of a turn, by which it is judged.
        text: most tokens of text in all turns together.
        whole: most tokens and positions in all together; None: any number.
    """
    sizes = [size(message) for message in messages]
    others = [i for i, message in enumerate(messages) if message.role != "system"]
    starts = [i for i in others if messages[i].role == "user"]
    if not starts:
        return list(messages)
    kept = [sizes[i] for i in range(len(messages)) if i not in others]
    words, places = sum(words for words, _ in kept), sum(words + media for words, media in kept)
    edges = sorted({others[0], *starts, len(messages)})  # an assistant may have spoken before any user
    first = starts[-1]
    for start, end in reversed(list(pairwise(edges))):
        stretch = [sizes[i] for i in others if start <= i < end]
        words += sum(words for words, _ in stretch)
        places += sum(words + media for words, media in stretch)
        if start != starts[-1] and (words > text or (whole is not None and places > whole)):
            break
        first = start
    return [message for i, message in enumerate(messages) if message.role == "system" or i >= first]


def told_first(messages: Sequence[Message], words: str) -> list[Message]:
    """The messages with ``words`` before all else in the first user's turn."""
    found = list(messages)
    place = next((i for i, message in enumerate(found) if message.role == "user"), None)
    if words and place is not None:
        rest = found[place].parts
        gap = "\n" if rest and isinstance(rest[0], TextPart) else ""
        found[place] = replace(found[place], parts=(TextPart(words + gap), *rest))
    return found


def in_words(parts: Parts, words_of: Callable[[Any], str], both: bool) -> Parts:
    """Parts of a turn with its sounds in words.

    Args:
        words_of: a sound's reference -> what is said in it, empty where nothing is.
        both: the words stand behind the sound instead of in its place.
    """
    found: list[TextPart | MediaPart] = []
    for part in parts:
        if isinstance(part, TextPart) or part.type != "audio":
            found.append(part)
            continue
        if both:
            found.append(part)
        if words := words_of(part.reference):
            found.append(TextPart(words))
    if found == list(parts):
        return parts
    return tuple(  # two texts that follow each other are two lines
        TextPart(part.text + "\n") if isinstance(part, TextPart) and isinstance(after, TextPart) else part
        for part, after in zip(found, [*found[1:], None], strict=True)
    )
