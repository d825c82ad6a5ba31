"""What a column holds, told from a bounded sample of its cells: the one set of rules behind every inferred type."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensorium.data.readers.chunks import MEDIA, NUMBER
from sensorium.data.readers.folder import IMAGES, SOUNDS

HEAD, RUNS, RUN = 2048, 16, 512  # the sample: the first rows, then runs at fixed random places
PREFIX = 1024  # characters of a cell that are looked at
MOST_CATEGORIES, LEAST_EACH = 50, 5  # DESIGN: at most 50 distinct values, each at least 5 times on average
MOST_WHOLE = 20  # distinct whole numbers that still count as classes
LEADING_ZERO = r"^[-+]?0\d"  # 007 and 01234 are codes, not numbers
MOSTLY = 0.95  # share of cells that must look like a number, time or place

_ENDS = {"image": "|".join(e[1:] for e in sorted(IMAGES)), "audio": "|".join(e[1:] for e in sorted(SOUNDS))}
TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?\s?(Z|[+-]\d{2}:?\d{2})?)?$"
PLACE = r"^[\[(]?\s*[-+]?([0-8]?\d(\.\d+)?|90(\.0+)?)\s*[,;]\s*[-+]?((1[0-7]\d|\d{1,2})(\.\d+)?|180(\.0+)?)\s*[\])]?$"
IDENTIFIER_NAME = re.compile(
    r"(^|[_\s-])(id|uuid|guid|index|idx|key|rowid|row)$|^(id|uuid)[_\s-]|Id$|^Unnamed|^column_1$", re.ASCII
)
UUID = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$|^[0-9a-f]{24,64}$"


@dataclass(frozen=True)
class Told:
    """A column's type, or None where it is left out, and why."""

    type: str | None
    reason: str


def sample(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """At most ~10,000 cells: the head and runs at places that depend on the length alone. Texts cut at PREFIX."""
    rows = len(column)
    pieces = [column]
    if rows > HEAD + RUNS * RUN:
        slack = np.random.default_rng(0).integers(0, rows - HEAD - RUNS * RUN, RUNS, endpoint=True)
        starts = HEAD + np.arange(RUNS) * RUN + np.sort(slack)  # runs never overlap
        pieces = [column.slice(0, HEAD)] + [column.slice(int(start), RUN) for start in starts]
    chunks = [_light(chunk) for piece in pieces for chunk in piece.chunks]
    return pa.chunked_array(chunks, chunks[0].type if chunks else column.type)


def _light(chunk: pa.Array) -> pa.Array:
    if pa.types.is_large_string(chunk.type):
        return pc.utf8_slice_codeunits(chunk, 0, PREFIX)
    return chunk


def tell(name: str, column: pa.ChunkedArray) -> Told:
    """The type of an input column: media, number, time, place, category or text; None for what cannot help."""
    if column.type == MEDIA:
        return _tell_media(column)
    cells = sample(column).drop_null()
    if pa.types.is_large_string(column.type):
        cells = pc.utf8_trim_whitespace(cells)
        cells = cells.filter(pc.not_equal(cells, ""))
    if not len(cells):
        return Told(None, "empty") if constant(column) else Told("text", "nearly empty")
    if len(column) > 1 and constant(column):
        return Told(None, "the same in every row")
    if pa.types.is_timestamp(column.type):
        return Told("time", "a column of times")
    if pa.types.is_floating(column.type):
        return Told("number", "a column of numbers")
    if pa.types.is_integer(column.type):
        return _tell_whole(name, cells)
    return _tell_text(name, cells)


def constant(column: pa.ChunkedArray) -> bool:
    """Whether all rows hold one value (missing counts as a value); looks no further than the second."""
    seen: set[object] = set()
    for chunk in column.chunks:
        seen |= set(pc.unique(chunk.slice(0, 64)).to_pylist())
        if len(seen) > 1:
            return False
        if len(chunk) > 64:
            seen |= set(pc.unique(chunk).slice(0, 2).to_pylist())
        if len(seen) > 1:
            return False
    return True


def _tell_media(column: pa.ChunkedArray) -> Told:
    paths, first = [], b""
    for chunk in column.chunks:
        path = pc.struct_field(chunk, "path").drop_null()
        paths += path.slice(0, 256).to_pylist()
        if not first:
            data = pc.struct_field(chunk, "bytes")
            valid = np.flatnonzero(data.is_valid().to_numpy(zero_copy_only=False))
            first = data[int(valid[0])].as_py()[:16] if len(valid) else b""
        if len(paths) > 256 and first:
            break
    if first:
        sound = (
            first[:4] in (b"RIFF", b"OggS", b"fLaC", b"FORM", b".snd", b"caff")
            or first[:3] == b"ID3"
            or first[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
        )
        webp = first[:4] == b"RIFF" and first[8:12] == b"WEBP"
        return Told(
            "audio" if sound and not webp else "image",
            "bytes of a sound" if sound and not webp else "bytes of a picture",
        )
    sounds = sum(path.lower().endswith(tuple(SOUNDS)) for path in paths)
    if not paths:
        return Told(None, "empty")
    return Told("audio", "paths of sounds") if sounds > len(paths) / 2 else Told("image", "paths of pictures")


def _tell_whole(name: str, cells: pa.ChunkedArray) -> Told:
    values = cells.to_numpy()
    distinct = len(np.unique(values))
    steps = np.diff(values[:HEAD])
    if len(values) > 3 and distinct == len(values) and (np.all(steps == 1) or IDENTIFIER_NAME.search(name)):
        return Told(None, "counts or names the rows")
    return Told("number", "whole numbers")


def _tell_text(name: str, cells: pa.ChunkedArray) -> Told:
    for kind, ends in _ENDS.items():
        pattern = rf"(?i)^[^\n]*\.({ends})$|^data:{kind}/"
        share = share_of(cells, pattern)
        if share > 0.5:
            return Told(kind, f"{share:.0%} of the cells are paths of {'pictures' if kind == 'image' else 'sounds'}")
    for kind, pattern in (("time", TIME), ("place", PLACE)):
        share = share_of(cells, pattern)
        if share >= MOSTLY:
            return Told(kind, "ISO dates" if kind == "time" else "latitude and longitude")
    share = share_of(cells, NUMBER)
    if share >= MOSTLY and not share_of(cells, LEADING_ZERO):
        return Told(
            "number", "numbers" if share == 1 else f"{share:.1%} of the cells are numbers; the others count as missing"
        )
    distinct, rows = len(pc.unique(cells)), len(cells)
    if rows > 3 and distinct == rows and (IDENTIFIER_NAME.search(name) or share_of(cells, UUID) > MOSTLY):
        return Told(None, "names the rows")
    words = pc.mean(pc.add(pc.count_substring_regex(cells, r"\s+"), 1)).as_py()
    if distinct <= MOST_CATEGORIES and rows >= LEAST_EACH * distinct and words <= 3:
        return Told("category", f"{distinct} distinct values")
    return Told("text", f"{distinct:,} distinct texts" + (" in the sample" if rows > HEAD else ""))


def share_of(cells: pa.ChunkedArray, pattern: str) -> float:
    """The share of cells that match a regular expression (RE2)."""
    return (pc.sum(pc.match_substring_regex(cells, pattern)).as_py() or 0) / max(1, len(cells))


# -- targets ---------------------------------------------------------------------------------------


def distinct_values(column: pa.ChunkedArray, most: int) -> dict[object, int] | None:
    """Counts of the distinct non-missing values, streamed; None as soon as there are more than ``most``."""
    counts: dict[object, int] = {}
    for chunk in column.chunks:
        for start in range(0, len(chunk), 8192):
            pairs = pc.value_counts(chunk.slice(start, 8192).drop_null())
            for value, count in zip(pairs.field("values").to_pylist(), pairs.field("counts").to_pylist(), strict=True):
                if isinstance(value, float) and value != value:
                    continue
                key = label(value)
                if key:
                    counts[key] = counts.get(key, 0) + count
            if len(counts) > most:
                return None
    return counts


def label(value: object) -> str | None:
    """A target's value as a class name: whole floats without their point, texts trimmed; None where missing."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value).strip() or None


def whole(column: pa.ChunkedArray) -> bool:
    """Whether every number in a column is whole."""
    if pa.types.is_integer(column.type):
        return True
    finite = (chunk.filter(pc.is_finite(chunk)) for chunk in column.chunks)
    return all(pc.all(pc.equal(chunk, pc.floor(chunk)), min_count=0).as_py() for chunk in finite)
