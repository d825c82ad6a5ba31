"""The one way from a reference in a cell to bytes. Nothing here reaches the network, and no path leaves its root."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Any

from sensorium.errors import MediaError

LIMIT_BYTES = 64 << 20
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(//)?")


def read_media(reference: str | bytes | dict[str, Any], root: Path | None, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """The bytes that a media cell refers to; at least one, at most ``limit_bytes``.

    Args:
        reference: a path, relative to ``root`` or absolute, that stays under ``root`` once every link is followed;
            a ``data:`` address in base64 (RFC 2397); {"bytes", "path"}, of which bytes come first; or bytes.
        root: the folder that paths may point into; None: none may.

    Raises:
        MediaError: anything else, a network address, or a file that is missing, empty, too large or not a plain file.
    """
    if isinstance(reference, dict):
        reference = reference.get("bytes") or reference.get("path") or b""
    if isinstance(reference, bytes | bytearray | memoryview):
        return _bounded(bytes(reference), "bytes in the cell", limit_bytes)
    if not isinstance(reference, str):
        raise MediaError(f"a {type(reference).__name__} refers to no file", mend="give a path, or bytes")
    text = reference.strip()
    if text[:5].lower() == "data:":
        return _from_data_url(text, limit_bytes)
    if not text:
        raise MediaError("the path is empty", mend="give the file's path")
    if (address := _ADDRESS.match(text)) and (address[1] or text[:5].lower() == "file:"):
        raise MediaError(
            f"{address[0].rstrip('/')} addresses are not opened",
            where=shown(text),
            mend="download it and give its path",
        )
    return _from_file(text, root, limit_bytes)


def content_hash(data: bytes) -> str:
    """Hex SHA-256 of the bytes: equal for equal content, wherever it is stored."""
    return hashlib.sha256(data).hexdigest()


def shown(reference: Any, width: int = 100) -> str:
    """A reference for a message: one printable line, the middle of a long one left out, embedded bytes only counted."""
    if isinstance(reference, dict):
        reference = reference.get("path") or f"{len(reference.get('bytes') or b''):,} bytes in the cell"
    if isinstance(reference, bytes):
        return f"{len(reference):,} bytes in the cell"
    text = str(reference)
    if text[:5].lower() == "data:":
        return f"{text[:5]}{text[5:].partition(',')[0][:40]},… ({len(text):,} characters)"
    text = text if len(text) <= width else f"{text[: width // 2]}…{text[1 - width // 2 :]}"
    return "".join(c if c.isprintable() else "�" for c in text)


def _bounded(data: bytes, where: str, limit: int) -> bytes:
    if not data:
        raise MediaError("there are no bytes", where=where, mend="replace it, or leave the cell empty")
    if len(data) > limit:
        raise MediaError(f"{len(data):,} bytes are more than {limit:,}", where=where, mend="make it smaller")
    return data


def _from_data_url(text: str, limit: int) -> bytes:
    head, comma, payload = text.partition(",")
    where = shown(text)
    if not comma or not head.lower().endswith(";base64"):
        raise MediaError("this data: address is not in base64", where=where, mend="write data:image/png;base64,…")
    if len(payload) // 4 * 3 > limit + 2:
        raise MediaError(
            f"some {len(payload) // 4 * 3:,} bytes are more than {limit:,}", where=where, mend="make it smaller"
        )
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise MediaError("this data: address is not valid base64", where=where, mend="encode it again") from None
    return _bounded(data, where, limit)


def _from_file(text: str, root: Path | None, limit: int) -> bytes:
    where = shown(text)
    if root is None:
        raise MediaError("there is no folder that paths may point into", where=where, mend="set data.root")
    try:
        top = os.path.realpath(root)
        path = os.path.realpath(os.path.join(top, text))
        if os.path.commonpath([top, path]) != top:
            raise MediaError(
                "the file is not under the data's folder", where=where, mend="move it there, or set data.root"
            )
        # A pipe or device must not be waited for, and the last step must still be no link.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags)
    except FileNotFoundError:
        raise MediaError(
            "there is no such file", where=where, mend="check the path; it is relative to data.root"
        ) from None
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or "not a path"
        raise MediaError(
            f"the file cannot be opened ({told})", where=where, mend="check the path and its permissions"
        ) from None
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no plain file"
        raise MediaError(f"this is {kind}", where=where, mend="give the path of a file")
    with os.fdopen(handle, "rb") as file:
        if found.st_size > limit:
            raise MediaError(f"{found.st_size:,} bytes are more than {limit:,}", where=where, mend="make it smaller")
        try:
            data = file.read(min(found.st_size or limit, limit) + 1)  # /proc says 0
        except OSError as error:
            raise MediaError(
                f"the file cannot be read ({error.strerror})", where=where, mend="check the disk"
            ) from None
    if not data:
        raise MediaError("the file is empty", where=where, mend="replace it, or leave the cell empty")
    return _bounded(data, where, limit)
