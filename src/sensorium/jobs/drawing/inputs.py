"""What people hand to a drawer, checked: words, and pictures of any kind."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from sensorium.data.media import read_media, shown
from sensorium.errors import DataError, MediaError
from sensorium.modalities import image

PictureLike = str | Path | bytes | Image.Image
LONGEST = 32_000  # characters of a prompt, before its tokens are counted


def checked_prompt(prompt: str, where: str = "prompt") -> str:
    """The words with single spaces between them.

    Raises:
        DataError: they are no text, empty, longer than ``LONGEST``, or hold control characters or halves of characters.
    """
    if not isinstance(prompt, str):
        raise DataError(f"a {type(prompt).__name__} is no text", where=where, mend="say in words what to draw")
    if len(prompt) > LONGEST:
        raise DataError(
            f"the words are {len(prompt):,} characters long", where=where, mend=f"write {LONGEST:,} at the most"
        )
    words = " ".join(prompt.split())
    for char in words:
        if unicodedata.category(char) in ("Cc", "Cs"):
            what = "a control character" if unicodedata.category(char) == "Cc" else "half a character"
            raise DataError(f"the words hold {what} (U+{ord(char):04X})", where=where, mend="leave it out")
    if not words:
        raise DataError("there are no words", where=where, mend="say in words what to draw")
    return words


def picture_bytes(picture: PictureLike, where: str = "image") -> bytes:
    """The bytes of a picture that nobody vouches for: a file's path, a file's bytes, or a picture in memory.

    Its header is read, and a picture that is too large refused, before anything is decoded.

    Raises:
        MediaError: there is no such file, it is no plain one, too large, or no picture. A path is named, else ``where``.
    """
    with naming(picture, where):
        data = _bytes(picture)
        image.header(data)
    return data


@contextmanager
def naming(picture: PictureLike, where: str) -> Iterator[None]:
    """Put the picture's path in front of what is raised of it, or ``where`` if it has none."""
    try:
        yield
    except MediaError as error:
        mend = "give the path of a picture" if error.what == "there is no such file" else error.mend
        raise MediaError(error.what, where=place_of(picture, where), mend=mend) from None


def place_of(picture: PictureLike, where: str) -> str:
    """A picture's path, for a message, or ``where`` if it has none."""
    return shown(str(picture)) if isinstance(picture, str | Path) else where


def _bytes(picture: PictureLike) -> bytes:
    if isinstance(picture, Image.Image):
        file = io.BytesIO()
        lossless = picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
        picture.save(file, "PNG" if lossless else "TIFF", compress_level=1)
        return file.getvalue()
    if isinstance(picture, bytes):
        return picture
    path = Path(picture).absolute()
    return read_media(str(path), Path(path.anchor))
