"""Messages from OpenAI's form to the toolkit's own, their media let in through the door."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.data.messages import ROLES, MediaPart, Message, TextPart
from sensorium.errors import MediaError
from sensorium.serving.door.media import Allowance, Door
from sensorium.serving.errors import invalid, translate
from sensorium.serving.routes.schemas import AudioContent, ChatMessage, Content, ImageContent, TextContent


async def to_messages(messages: Sequence[ChatMessage], door: Door) -> list[Message]:
    """Turns with their pictures and sounds as bytes, fetched where that is allowed, and checked.

    Raises:
        ApiError: too many media, or one that is refused; ``param`` says which.
    """
    contents = [
        (m.content if not isinstance(m.content, str) else [TextContent(type="text", text=m.content)]) for m in messages
    ]
    count = sum(not isinstance(part, TextContent) for parts in contents for part in parts)
    if count > door.limits.together:
        raise invalid(f"{count} pictures and sounds are more than {door.limits.together}", "messages")
    allowance = door.allowance()
    told = [await parts_of(parts, door, f"messages.{i}.content", allowance) for i, parts in enumerate(contents)]
    return [Message(ROLES[m.role], parts) for m, parts in zip(messages, told, strict=True)]  # type: ignore[arg-type]


async def parts_of(
    contents: Sequence[Content], door: Door, where: str, allowance: Allowance
) -> tuple[TextPart | MediaPart, ...]:
    """Content parts as the toolkit's own; one after another, so that what was let in bounds what may follow."""
    return tuple([await _part(part, door, f"{where}.{i}", allowance) for i, part in enumerate(contents)])


async def _part(part: Content, door: Door, where: str, allowance: Allowance) -> TextPart | MediaPart:
    try:
        if isinstance(part, ImageContent):
            return MediaPart("image", "image_url", await door.open("image", part.image_url.url, allowance))
        if isinstance(part, AudioContent):
            sound = part.input_audio
            return MediaPart("audio", "input_audio", await door.open_sound(sound.data, sound.format, allowance))
    except MediaError as error:
        refused = translate(error, where)
        assert refused is not None
        raise refused from None
    return TextPart(part.text)
