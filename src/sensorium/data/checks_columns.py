"""Columns of plain cells, looked at a batch at a time: what is missing, what cannot be used, and a hash of each cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensorium.data.inference import PLACE, TIME
from sensorium.data.readers import MEDIA, NUMBER
from sensorium.data.rows import to_number, to_place, to_time

BATCH = 32_768
LONG = 100_000  # characters; more is a mistaken column rather than a text
VISIBLE = r"[^\pZ\p{Cc}\p{Cf}]"  # text of spaces, controls and format characters alone shows nothing
PATTERNS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "number": (NUMBER, to_number),
    "time": (TIME, to_time),
    "place": (PLACE, to_place),
}


@dataclass
class Cells:
    """A column's cells, (rows,) each.

    ``present``: bool, usable as the column's type; ``bad``: bool, there is something, but nothing of that type;
    ``infinite``, ``long``, ``broken``: bool; ``exact``, ``alike``: uint64 hashes, equal for equal cells and for cells
    equal but for case, white space and Unicode's form; 0 where not present.
    """

    present: np.ndarray
    bad: np.ndarray
    infinite: np.ndarray
    long: np.ndarray
    broken: np.ndarray
    exact: np.ndarray
    alike: np.ndarray


def read_column(column: pa.ChunkedArray, kind: str) -> Cells:
    """Look at a column as ``kind``: text, category, number, time or place. Memory: some 20 bytes a row."""
    rows = len(column)
    flags = [np.zeros(rows, dtype=bool) for _ in range(5)]
    exact, alike = np.zeros(rows, dtype=np.uint64), np.zeros(rows, dtype=np.uint64)
    cells = Cells(flags[0], flags[1], flags[2], flags[3], flags[4], exact, alike)
    for start, batch in batches(column):
        _read_batch(batch, kind, cells, slice(start, start + len(batch)))
    return cells


def batches(column: pa.ChunkedArray) -> Iterator[tuple[int, pa.Array]]:
    """(first row, array) in pieces of at most ``BATCH`` rows."""
    at = 0
    for chunk in column.chunks:
        for start in range(0, len(chunk), BATCH):
            piece = chunk.slice(start, BATCH)
            yield at + start, piece
        at += len(chunk)


def _read_batch(batch: pa.Array, kind: str, cells: Cells, where: slice) -> None:
    if batch.type == MEDIA:
        cells.bad[where] = _bools(batch.is_valid())
    elif pa.types.is_large_string(batch.type):
        _read_texts(batch, kind, cells, where)
    else:
        _read_values(batch, kind, cells, where)


def _read_values(batch: pa.Array, kind: str, cells: Cells, where: slice) -> None:
    """Numbers and times, as Arrow stores them."""
    valid = _bools(batch.is_valid())
    if pa.types.is_floating(batch.type):
        numbers = pc.fill_null(batch, np.nan).to_numpy(zero_copy_only=False)
        present = np.isfinite(numbers)
        cells.infinite[where] = np.isinf(numbers)
        if kind in ("text", "category"):
            present = present | np.isinf(numbers)  # told as words
    else:
        numbers = pc.fill_null(pc.cast(batch, pa.int64()), 0).to_numpy(zero_copy_only=False)
        present = valid
        if kind != "time" and np.abs(numbers).max(initial=0) < 2**53:
            numbers = numbers.astype(np.float64)  # 3 and 3.0 are one class
    timed = pa.types.is_timestamp(batch.type)
    if (kind == "time") != timed and kind in ("time", "number", "place"):
        cells.bad[where] = valid
        present = np.zeros(len(batch), dtype=bool)
    cells.present[where] = present
    cells.exact[where] = cells.alike[where] = np.where(present, hashed(np.nan_to_num(numbers)), 0)


def _read_texts(batch: pa.Array, kind: str, cells: Cells, where: slice) -> None:
    texts = pc.fill_null(pc.utf8_trim_whitespace(batch), "")
    something = _bools(pc.not_equal(texts, ""))
    ascii_ = pc.all(pc.string_is_ascii(texts)).as_py()
    present = something
    if kind == "text":
        present = something if ascii_ and _plain(texts) else _bools(pc.match_substring_regex(texts, VISIBLE))
        cells.long[where] = pc.greater(pc.utf8_length(texts), LONG).to_numpy(zero_copy_only=False)
        if not ascii_:
            cells.broken[where] = _bools(pc.match_substring(texts, "\ufffd"))
    elif kind in PATTERNS:
        present = something & _fitting(texts, kind)
        cells.bad[where] = something & ~present
        if kind == "number":
            cells.infinite[where] = _bools(pc.match_substring_regex(texts, r"(?i)^[-+]?inf(inity)?$"))
    cells.present[where] = present
    exact = hashed(texts.to_numpy(zero_copy_only=False), few=kind != "text")
    normal = normalised(texts, ascii_)
    same = normal.equals(texts)
    alike = exact if same else hashed(normal.to_numpy(zero_copy_only=False), few=kind != "text")
    cells.exact[where], cells.alike[where] = np.where(present, exact, 0), np.where(present, alike, 0)


def _fitting(texts: pa.Array, kind: str) -> np.ndarray:
    """Which texts are of the kind: by pattern where that is enough, the rest by the rule that examples are read by."""
    pattern, convert = PATTERNS[kind]
    fits = _bools(pc.match_substring_regex(texts, pattern))
    odd = ~fits
    if kind == "number":
        odd |= _bools(pc.match_substring_regex(texts, r"[eE][-+]?\d{3}"))  # 1e999 is infinite
    places = np.flatnonzero(odd)
    if len(places):
        encoded = pc.dictionary_encode(texts.take(pa.array(places)))
        usable = np.array([convert(text) is not None for text in encoded.dictionary.to_pylist()])
        fits[places] = usable[encoded.indices.to_numpy(zero_copy_only=False)]
    return fits


def _plain(texts: pa.Array) -> bool:
    return not pc.any(pc.match_substring_regex(texts, r"^[\x00-\x20\x7f]+$"), min_count=0).as_py()


def normalised(texts: pa.Array, ascii_: bool) -> pa.Array:
    """Without regard to case, runs of white space and Unicode's compatibility forms (NFKC)."""
    lower = pc.ascii_lower(texts) if ascii_ else pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC"))
    if pc.any(pc.match_substring_regex(lower, r"[\t-\r]|  "), min_count=0).as_py():
        lower = pc.utf8_trim_whitespace(pc.replace_substring_regex(lower, r"\s+", " "))
    return lower


def hashed(values: np.ndarray, few: bool = False) -> np.ndarray:
    """(n,) -> (n,) uint64, never 0; ``few`` distinct values are hashed once each."""
    from pandas.util import hash_array

    return np.asarray(hash_array(values, categorize=few)) | np.uint64(1)


def mixed(key: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Two (n,) uint64 hashes as one; the order matters (splitmix64's finaliser, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        mix = (key + np.uint64(0x9E3779B97F4A7C15)) ^ part
        mix = (mix ^ (mix >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mix = (mix ^ (mix >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mix ^ (mix >> np.uint64(31))


def _bools(array: Any) -> np.ndarray:
    return np.array(pc.fill_null(array, False).to_numpy(zero_copy_only=False), dtype=bool)
