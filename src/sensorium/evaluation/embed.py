"""Pictures and sounds small enough to stand inside a page, as data: URLs."""

from __future__ import annotations

import base64
import io
import wave
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sensorium.errors import MediaError

THUMBNAIL = 96  # pixels, the longer side
MAX_SECONDS = 8.0
RATE = 16_000  # Hz


@dataclass(frozen=True)
class Media:
    """A picture or sound of a sample, as bytes of any readable format or already decoded.

    ``data``: bytes; or, of an image, (height, width, 3) uint8; or, of audio, (samples,) float32 at ``rate`` Hz.
    """

    kind: Literal["image", "audio"]
    data: bytes | np.ndarray
    rate: int = RATE


@dataclass
class Budget:
    """How many bytes of media a page may still take."""

    left: int

    def take(self, url: str) -> str | None:
        """``url``, or None when it does not fit any more."""
        if len(url) > self.left:
            return None
        self.left -= len(url)
        return url


def embed(media: Media) -> str:
    """A data: URL of a thumbnail (PNG) or of the first seconds (WAV, 16 bit, mono).

    Raises:
        MediaError: it cannot be decoded.
    """
    return thumbnail(media.data) if media.kind == "image" else wav(media.data, media.rate)


def thumbnail(picture: bytes | np.ndarray, side: int = THUMBNAIL) -> str:
    """A PNG of at most ``side`` pixels a side; small pictures stay as they are."""
    from PIL import Image

    if isinstance(picture, bytes):
        from sensorium.modalities.image import decode

        picture = decode(picture)
    pixels = np.asarray(picture)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise MediaError("a picture must be (height, width, 3) uint8")
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    page = io.BytesIO()
    image.save(page, "PNG", optimize=True)
    return _url("image/png", page.getvalue())


def wav(sound: bytes | np.ndarray, rate: int = RATE, seconds: float = MAX_SECONDS) -> str:
    """At most the first ``seconds`` as 16-bit mono WAV."""
    if isinstance(sound, bytes):
        from sensorium.modalities.audio import decode

        sound, rate = decode(sound, rate=RATE, max_seconds=seconds), RATE
    samples = np.asarray(sound, dtype=np.float64)
    if samples.ndim != 1:
        raise MediaError("a sound must be (samples,)")
    samples = np.nan_to_num(samples[: int(seconds * rate)])
    page = io.BytesIO()
    with wave.open(page, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return _url("audio/wav", page.getvalue())


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
