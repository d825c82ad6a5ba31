"""Drawn pictures as files: whole or not at all, and never in the place of another."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from sensorium.errors import DataError
from sensorium.jobs.drawing.drawn import Drawn
from sensorium.jobs.drawing.png import png_bytes

LONGEST_NAME = 40  # characters of the prompt in a file's name


def check_folder(folder: str | Path) -> None:
    """DataError where pictures cannot be put there: said before they are drawn."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise DataError("is a file, not a folder", where=str(folder), mend="give a folder as --out")
    path.mkdir(parents=True, exist_ok=True)


def save_pictures(drawn: Sequence[Drawn], folder: str | Path, model: str) -> list[Path]:
    """``PROMPT-SEED.png`` each, in ``folder``, which is made; where another file has that name, ``PROMPT-SEED-2.png``.

    A file that holds the very same picture stays, and is named instead.
    """
    return [_placed(png_bytes(one, model), Path(folder), f"{slug(one.prompt)}-{one.seed}") for one in drawn]


def slug(text: str) -> str:
    """A prompt as part of a file's name: small letters and digits of ASCII, hyphens between them."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:LONGEST_NAME].strip("-") or "picture"


def _placed(data: bytes, folder: Path, stem: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{stem}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        number = 1
        while True:
            path = folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
            if _named(temporary, path) or _same(path, data):
                return path
            number += 1
    finally:
        Path(temporary).unlink(missing_ok=True)


def _named(temporary: str, path: Path) -> bool:
    """Give the file its name, if nothing has it: a link is made at once or not at all."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if path.exists():  # no links on this disk: the moment between looking and renaming is left
            return False
        os.rename(temporary, path)
    return True


def _same(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
