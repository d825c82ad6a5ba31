"""Chat messages as OpenAI's clients write them, and rows of a table told as one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sensorium.errors import DataError

if TYPE_CHECKING:
    from sensorium.data.rows import Example
    from sensorium.data.schema import Schema

Role = Literal["system", "user", "assistant"]
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
PART_TYPES = ("text", "image_url", "input_audio")
MOST_MESSAGES, MOST_PARTS = 1000, 256


@dataclass(frozen=True)
class TextPart:
    """Words of a message."""

    text: str


@dataclass(frozen=True)
class MediaPart:
    """A picture or sound of a message: ``reference`` is a path, a ``data:`` address or {"bytes", "path"}.

    ``column`` is the table's column, or the part's type where it came from a chat.
    """

    type: Literal["image", "audio"]
    column: str
    reference: Any


@dataclass(frozen=True)
class Message:
    """One turn: a role and its parts in order."""

    role: Role
    parts: tuple[TextPart | MediaPart, ...] = field(default_factory=tuple)

    @property
    def text(self) -> str:
        """The words alone."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))


def from_openai(messages: Any, where: str = "messages", *, answered: bool = True) -> list[Message]:
    """Messages from OpenAI's form: JSON text or the list itself.

    ``content`` is a string or parts ``text``, ``image_url`` (an object with ``url``, or a plain string) and
    ``input_audio`` (bare base64 with a ``format``, or a path). System messages come first.

    Args:
        answered: the last message must be the assistant's, in words (a chat to learn from).

    Raises:
        DataError: anything else; the message says which message and part.
    """
    if isinstance(messages, str | bytes):
        try:
            messages = json.loads(messages)
        except (ValueError, RecursionError):
            raise _wrong("messages are not valid JSON", where) from None
    if isinstance(messages, dict) and "messages" in messages:
        messages = messages["messages"]
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages are no list with at least one message", where)
    if len(messages) > MOST_MESSAGES:
        raise _wrong(f"{len(messages)} messages are more than {MOST_MESSAGES}", where)
    told = [_message(message, f"{where}, message {i + 1}") for i, message in enumerate(messages)]
    if not any(message.role == "user" for message in told):
        raise _wrong("no message is the user's", where)
    if answered and (told[-1].role != "assistant" or not told[-1].text.strip()):
        raise _wrong("the last message is no answer of the assistant in words", where)
    return told


def _message(raw: Any, where: str) -> Message:
    if not isinstance(raw, dict):
        raise _wrong("is no object with role and content", where)
    role = raw.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise DataError(f"unknown role {role!r}", where=where, mend="write system, user or assistant")
    if raw.get("tool_calls") or raw.get("function_call"):
        raise DataError("tool calls cannot be learnt", where=where, mend="leave out chats that call tools")
    content = raw.get("content")
    if isinstance(content, str):
        return Message(ROLES[role], (TextPart(content),))  # type: ignore[arg-type]
    if not isinstance(content, list) or not content:
        raise _wrong("content is neither a text nor a list of parts", where)
    if len(content) > MOST_PARTS:
        raise _wrong(f"{len(content)} parts are more than {MOST_PARTS}", where)
    parts = tuple(_part(part, f"{where}, part {i + 1}") for i, part in enumerate(content))
    if role != "user" and any(isinstance(part, MediaPart) for part in parts):
        raise DataError(f"a picture or sound in a {role} message", where=where, mend="only the user shows media")
    return Message(ROLES[role], parts)  # type: ignore[arg-type]


def _part(raw: Any, where: str) -> TextPart | MediaPart:
    if isinstance(raw, str):
        return TextPart(raw)
    if not isinstance(raw, dict):
        raise _wrong("is no object with a type", where)
    type_ = raw.get("type")
    if type_ == "text":
        if not isinstance(raw.get("text"), str):
            raise _wrong("text is no string", where)
        return TextPart(raw["text"])
    if type_ == "image_url":
        value = raw.get("image_url")
        address = value.get("url") if isinstance(value, dict) else value
        if not isinstance(address, str) or not address.strip():
            raise _wrong("image_url has no url", where)
        return MediaPart("image", "image_url", address.strip())
    if type_ == "input_audio":
        return MediaPart("audio", "input_audio", _sound(raw.get("input_audio"), where))
    raise DataError(f"unknown part type {type_!r}", where=where, mend=f"write {', '.join(PART_TYPES)}")


def _sound(value: Any, where: str) -> str:
    """Bare base64, as clients send it, becomes a ``data:`` address; paths and addresses stay."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, str) or not data.strip():
        raise _wrong("input_audio has no data", where)
    format_ = value.get("format", "wav")
    if data.startswith("data:") or _is_path(data):
        return data.strip()
    if not isinstance(format_, str) or not format_.isalnum():
        raise _wrong(f"input_audio has the format {format_!r}", where)
    return f"data:audio/{format_.lower()};base64,{data.strip()}"


def _is_path(text: str) -> bool:
    """A short text with a dot is a file's name: base64 has no dot."""
    return len(text) < 4096 and "." in text


def _wrong(what: str, where: str) -> DataError:
    return DataError(
        what, where=where, mend='write [{"role": "user", "content": …}, {"role": "assistant", "content": …}]'
    )


def answer_of(messages: list[Message]) -> str:
    """The words of the last message, the one to learn; empty where it is not the assistant's."""
    return messages[-1].text if messages and messages[-1].role == "assistant" else ""


# -- rows told as messages -------------------------------------------------------------------------


def from_example(example: Example, schema: Schema, *, cells: bool = False, answer: bool = True) -> list[Message]:
    """A row as chat: the user shows its media in column order, then its texts; the assistant gives the target.

    One text column is the user's words as they are; several are lines ``column: value``. Missing cells are left out.

    Args:
        cells: numbers, categories, times and places are told as lines too.
        answer: end with the target, where there is one, as the assistant's words.
    """
    if schema.messages is not None:
        messages: list[Message] = example.inputs["messages"]
        return messages if answer or messages[-1].role != "assistant" else messages[:-1]
    media: list[TextPart | MediaPart] = []
    for name, type_ in schema.inputs.items():
        if type_ in ("image", "audio") and example.inputs.get(name) is not None:
            media.append(MediaPart(type_, name, example.inputs[name]))  # type: ignore[arg-type]
    words = _words(example.inputs, schema, cells)
    user = Message("user", (*media, *([TextPart(words)] if words else [])))
    if not answer or example.target is None:
        return [user]
    return [user, Message("assistant", (TextPart(answer_text(example.target)),))]


def _words(inputs: Mapping[str, Any], schema: Schema, cells: bool) -> str:
    told = [
        name for name, type_ in schema.inputs.items() if type_ == "text" or (cells and type_ not in ("image", "audio"))
    ]
    if len(told) == 1 and schema.inputs[told[0]] == "text":
        return inputs.get(told[0]) or ""
    return cell_lines(inputs, told)


def cell_lines(inputs: Mapping[str, Any], names: Iterable[str]) -> str:
    """Cells as lines ``column: value`` in the order of ``names``; missing ones are left out."""
    return "\n".join(f"{name}: {answer_text(inputs[name])}" for name in names if inputs.get(name) is not None)


def answer_text(value: Any) -> str:
    """A cell in words: whole numbers without a point, places as "52.1, 4.3", times in ISO form."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(f"{number:g}" for number in value)
    if hasattr(value, "isoformat"):
        midnight = (value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0)
        return str(value.date().isoformat() if midnight else value.isoformat(sep=" "))
    return str(value)
