"""Every picture and sound of a table read once: what cannot be used, what looks wrong, and what identifies it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from sensorium.data.checks.report import DataReport, MediaHashes
from sensorium.data.media import content_hash, shown
from sensorium.data.messages import MediaPart, from_openai
from sensorium.data.rows import to_reference
from sensorium.errors import DataError, MediaError
from sensorium.modalities import audio, image

ReadMedia = Callable[[Any], bytes]
Advance = Callable[[int], Any]
TASK = 32  # cells that one piece of work holds
MOST_REMEMBERED = 65_536  # different contents whose findings are kept, so that repeated ones are decoded once
SMALLEST, NARROWEST, GREATEST = 8, 20, 20_000_000  # pixels a side; side to side; pixels
SILENT, CLIPPED, CLIPPED_SHARE = 1e-3, 0.999, 0.01  # peak (-60 dB); level and share of samples that count as clipped
SHORTEST = 0.05  # seconds
EXTENSIONS: dict[str, set[str]] = {
    "PNG": {".png", ".apng"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
    "AVIF": {".avif"},
    "ICO": {".ico"},
    "WAV": {".wav", ".wave"},
    "WAVEX": {".wav", ".wave"},
    "RF64": {".wav", ".wave", ".rf64"},
    "FLAC": {".flac"},
    "OGG": {".ogg", ".oga", ".opus"},
    "MP3": {".mp3"},
    "AIFF": {".aif", ".aiff", ".aifc"},
    "AU": {".au", ".snd"},
    "CAF": {".caf"},
    "W64": {".w64"},
}
_KNOWN = set().union(*EXTENSIONS.values())
# kind: (severity, what a count of it means)
ODD = {
    "wrong_extension": ("warning", "cells whose content is not what the file's name says; read by content"),
    "blank_picture": ("warning", "pictures are of one colour throughout"),
    "absurd_size": ("warning", "are too small or too narrow to tell much"),
    "great_picture": ("note", f"pictures have more than {GREATEST:,} pixels and are slow to read; shrink them"),
    "silent_audio": ("warning", "sounds are silent"),
    "clipped_audio": ("warning", f"sounds are clipped in at least {CLIPPED_SHARE:.0%} of their samples"),
    "long_audio": ("note", f"sounds are longer than {audio.MAX_SECONDS:.0f} s, of which the rest is not heard"),
}


@dataclass
class Seen:
    """What one picture or sound is: why it cannot be used, or its hashes and what is odd about it."""

    digest: bytes = b""
    error: str = ""
    format: str = ""
    odd: dict[str, str] = field(default_factory=dict)
    alike: int = 0
    thumbnail: bytes = b""


def scan_media(
    report: DataReport, column: pa.ChunkedArray, name: str, type_: str, read_media: ReadMedia, advance: Advance
) -> None:
    """Read every cell of a media column, on no more threads than cores; fill ``report`` with what is found."""
    rows = len(column)
    hashes = report.hashes[name] = MediaHashes(rows)
    known: dict[bytes, Seen] = {}
    odd: dict[str, list[int]] = {kind: [] for kind in ODD}
    details: dict[str, str] = {}
    bad: list[tuple[int, str]] = []

    def look(start: int) -> list[Seen | None]:
        return [
            _look_at(column[row].as_py(), type_, read_media, known) for row in range(start, min(start + TASK, rows))
        ]

    for start, batch in _in_order(look, range(0, rows, TASK)):
        for row, seen in enumerate(batch, start):
            if seen is None:
                continue
            if seen.error:
                bad.append((row, seen.error))
                continue
            hashes.content[row] = np.frombuffer(seen.digest, dtype=np.uint8)
            hashes.known[row] = True
            if seen.thumbnail:
                hashes.alike[row], hashes.varied[row] = seen.alike, True
                hashes.thumbnails[row] = np.frombuffer(seen.thumbnail, dtype=np.uint8)
            for kind, detail in seen.odd.items():
                odd[kind].append(row)
                details.setdefault(kind, detail)
        advance(len(batch))
    if bad:
        message = f"{len(bad):,} cells cannot be read; the first: {bad[0][1]}"
        report.set_aside(f"unreadable_{type_}", name, [row for row, _ in bad], [reason for _, reason in bad], message)
    for kind, found in odd.items():
        severity, meaning = ODD[kind]
        detail = f"; the first: {details[kind]}" if details.get(kind) else ""
        report.add(kind, name, found, severity, f"{len(found):,} {meaning}{detail}")  # type: ignore[arg-type]
    present = hashes.keys()[hashes.known]
    if len(present) > 1 and (present == present[0]).all():
        report.add("constant_column", name, [], "warning", "every cell is the same: it can teach nothing", len(present))


def scan_chats(
    report: DataReport,
    column: pa.ChunkedArray,
    name: str,
    source: Any,
    read_media: ReadMedia,
    advance: Advance,
    *,
    answered: bool = True,
) -> None:
    """Parse every chat and read its pictures and sounds; a chat with anything wrong is set aside.

    ``answered``: one that does not end in an answer is wrong too.
    """
    known: dict[bytes, Seen] = {}

    def look(start: int) -> list[str]:
        told = []
        for row in range(start, min(start + TASK, len(column))):
            try:
                messages = from_openai(column[row].as_py(), where=source.place(row), answered=answered)
            except DataError as error:
                told.append(str(error).removeprefix(f"{source.place(row)}, ").removeprefix(f"{source.place(row)}: "))
                continue
            parts = [part for message in messages for part in message.parts if isinstance(part, MediaPart)]
            errors = [
                seen.error for p in parts if (seen := _look_at(p.reference, p.type, read_media, known)) and seen.error
            ]
            told.append(errors[0] if errors else "")
        return told

    bad: list[tuple[int, str]] = []
    for start, batch in _in_order(look, range(0, len(column), TASK)):
        bad += [(row, reason) for row, reason in enumerate(batch, start) if reason]
        advance(len(batch))
    if bad:
        message = f"{len(bad):,} chats cannot be used; the first: {bad[0][1]}"
        report.set_aside("bad_chat", name, [row for row, _ in bad], [reason for _, reason in bad], message)


def _in_order(work: Callable[[int], Any], starts: range) -> Iterator[tuple[int, Any]]:
    """(start, work(start)) in order, computed ahead by a thread a core, of which libraries free the interpreter."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pool = ThreadPoolExecutor(max_workers=cores)
    waiting: deque[tuple[int, Future[Any]]] = deque()
    try:
        for start in starts:
            waiting.append((start, pool.submit(work, start)))
            if len(waiting) >= 4 * cores:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _look_at(cell: Any, type_: str, read_media: ReadMedia, known: dict[bytes, Seen]) -> Seen | None:
    reference = to_reference(cell)
    if reference is None:
        return None
    try:
        data = read_media(reference)
    except MediaError as error:
        return Seen(error=_reason(error))
    digest = bytes.fromhex(content_hash(data))
    seen = known.get(digest)
    if seen is None:
        try:
            seen = (_look_at_picture if type_ == "image" else _look_at_sound)(data)
        except MediaError as error:
            seen = Seen(error=error.what)
        seen.digest = digest
        if len(known) < MOST_REMEMBERED:
            known[digest] = seen
    path = reference.get("path") if isinstance(reference, dict) else reference
    if seen.error:
        return Seen(error=f"{shown(reference)}: {seen.error}" if path else seen.error)
    wrong = _wrong_extension(path, seen.format)
    return Seen(digest, "", seen.format, seen.odd | wrong, seen.alike, seen.thumbnail) if wrong else seen


def _reason(error: MediaError) -> str:
    return f"{error.where}: {error.what}" if error.where else error.what


def _wrong_extension(path: Any, format_: str) -> dict[str, str]:
    if not isinstance(path, str) or path[:5].lower() == "data:":
        return {}
    suffix = PurePosixPath(path).suffix.lower()
    right = EXTENSIONS.get(format_, {suffix})
    return {} if suffix not in _KNOWN or suffix in right else {"wrong_extension": f"{shown(path)} is {format_}"}


def _look_at_picture(data: bytes) -> Seen:
    format_, _, _ = image.header(data)
    pixels = image.decode(data)
    height, width = pixels.shape[:2]
    seen = Seen(format=format_)
    if min(height, width) < SMALLEST or max(height, width) > NARROWEST * min(height, width):
        seen.odd["absurd_size"] = f"{width} × {height} pixels"
    if height * width > GREATEST:
        seen.odd["great_picture"] = f"{width:,} × {height:,}"
    flat = pixels.reshape(-1, 3)
    if int((flat.max(axis=0).astype(int) - flat.min(axis=0)).max()) <= 4:
        seen.odd["blank_picture"] = f"colour {', '.join(map(str, flat[0].tolist()))}"
        return seen
    seen.alike, seen.thumbnail = look_of(pixels)
    return seen


def look_of(pixels: np.ndarray) -> tuple[int, bytes]:
    """(height, width, 3) uint8 -> its 64-bit perceptual hash (imagehash's phash) and 4 × 4 RGB pixels as bytes."""
    import imagehash
    from PIL import Image

    picture = Image.fromarray(pixels)
    bits = imagehash.phash(picture).hash
    small = picture.resize((4, 4), Image.Resampling.BOX)
    return int.from_bytes(np.packbits(bits).tobytes(), "big"), small.tobytes()


def _look_at_sound(data: bytes) -> Seen:
    format_, seconds, rate, _ = audio.header(data)
    samples = audio.decode(data, rate=rate)
    seen = Seen(format=format_)
    loud = np.abs(samples)
    if float(loud.max()) < SILENT:
        seen.odd["silent_audio"] = f"peak {float(loud.max()):.1g} of 1"
    elif (part := float(np.mean(loud >= CLIPPED))) >= CLIPPED_SHARE:
        seen.odd["clipped_audio"] = f"{part:.0%} of its samples"
    if len(samples) < SHORTEST * rate:
        seen.odd["absurd_size"] = f"{1000 * len(samples) / rate:.0f} ms"
    elif seconds > audio.MAX_SECONDS and len(samples) >= int(audio.MAX_SECONDS * rate):
        seen.odd["long_audio"] = f"{seconds:,.0f} s"
    return seen
