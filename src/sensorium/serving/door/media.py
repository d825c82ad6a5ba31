"""The one way in for pictures and sounds of strangers: to bytes whose header says that they are harmless.

Nothing here opens a file. Bytes are decoded by the rooms below, after the header was looked at.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Literal

from sensorium.data.media import read_media
from sensorium.errors import MediaError
from sensorium.modalities import audio, image
from sensorium.serving.door.fetch import Fetcher
from sensorium.serving.settings import MediaLimits

Kind = Literal["image", "audio"]
_TYPE = re.compile(r"data:([a-z0-9.+/-]{0,100})(;[^,]{0,100})?,", re.IGNORECASE)
# Browsers and recorders give these types to sounds.
_SOUNDS = ("audio/", "application/ogg", "video/ogg", "video/webm")


@dataclass
class Allowance:
    """Bytes that the media of one request may still take: what is fetched is not in its body."""

    left: int


@dataclass(frozen=True)
class Door:
    """Lets media in.

    Args:
        limits: what they may be. fetcher: fetches remote ones, where that is allowed.
    """

    limits: MediaLimits
    fetcher: Fetcher

    def allowance(self) -> Allowance:
        """What one request may bring."""
        return Allowance(self.limits.together_bytes)

    async def open(self, kind: Kind, reference: str, allowance: Allowance) -> bytes:
        """The bytes behind a ``data:`` or https address, checked by their header; taken from the allowance.

        Raises:
            MediaError: anything else; its ``what`` repeats nothing of the reference.
        """
        start, limit = reference[:8].lower(), min(self.limits.bytes, allowance.left)
        if start.startswith("data:"):
            self._check_type(kind, reference)
            data = await asyncio.to_thread(read_media, reference, None, limit)
        elif start.startswith("https://"):
            data = await self.fetcher.fetch(reference, limit)
        else:
            raise MediaError("this is no data: address", mend="send the media itself as data:TYPE;base64,…")
        allowance.left -= len(data)
        await asyncio.to_thread(self.check, kind, data)
        return data

    async def open_sound(self, data: str, format_: str, allowance: Allowance) -> bytes:
        """The bytes of OpenAI's ``input_audio``: bare base64, or a ``data:`` address."""
        if data[:5].lower() == "data:":
            return await self.open("audio", data, allowance)
        return await self.open("audio", f"data:audio/{format_};base64,{data}", allowance)

    def check(self, kind: Kind, data: bytes, seconds: float | None = None) -> None:
        """Look at a file's header alone. ``seconds`` replaces the limit of a sound's length. Raises MediaError."""
        if kind == "image":
            self._check_image(data)
        else:
            self._check_audio(data, seconds or self.limits.seconds)

    def _check_type(self, kind: Kind, reference: str) -> None:
        found = _TYPE.match(reference)
        types = ("image/",) if kind == "image" else _SOUNDS
        if found is None or not found[1].lower().startswith(types):
            named = "image/…" if kind == "image" else "audio/…"
            raise MediaError(f"the address says that it holds no {_NAMES[kind]}", mend=f"write data:{named};base64,…")

    def _check_image(self, data: bytes) -> None:
        limits = self.limits
        size = webp_canvas(data)  # Pillow makes room for a WebP's whole canvas as soon as it opens it
        if size is not None and size[0] * size[1] > limits.pixels:
            raise MediaError(f"the picture has more than {limits.pixels:,} pixels", mend="make it smaller")
        _, width, height = image.header(data, limits.pixels, limits.bytes)
        if image.decoding_bytes(data, limits.pixels, limits.bytes) > limits.memory:
            raise MediaError("the picture needs too much memory", mend="make it smaller, or leave transparency out")
        if max(width, height) > limits.side:
            raise MediaError(f"a side of the picture has more than {limits.side:,} pixels", mend="make it smaller")
        if image.animated(data, limits.pixels, limits.bytes):
            raise MediaError("the picture is animated", mend="send one frame of it")

    def _check_audio(self, data: bytes, longest: float) -> None:
        limits = self.limits
        _, seconds, rate, channels = audio.header(data, limits.bytes)
        if seconds > longest:
            raise MediaError(f"the sound is longer than {longest:g} s", mend="send a part of it")
        if not limits.lowest_rate <= rate <= limits.highest_rate:
            what = (
                f"the sound has fewer than {limits.lowest_rate:,} or more than {limits.highest_rate:,} samples a second"
            )
            raise MediaError(what, mend="export it at 16 kHz")
        if channels > limits.channels:
            raise MediaError(f"the sound has more than {limits.channels} channels", mend="mix it down to one")


_NAMES = {"image": "picture", "audio": "sound"}


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """(width, height) of an extended WebP by its header (RFC 9649, 2.7); None for anything else."""
    if data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8X" or len(data) < 30:
        return None
    return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
