"""Whole columns at once, as arrays that splits and statistics compute with."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensorium.data.inference import label
from sensorium.data.readers.chunks import MEDIA, NUMBER
from sensorium.data.rows import to_time
from sensorium.data.tables import Source
from sensorium.errors import DataError


def codes(source: Source, name: str, rows: np.ndarray) -> np.ndarray:
    """Equal cells, equal numbers; each missing cell is a value of its own."""
    column = source.table.column(name)
    if column.type == MEDIA:
        raise DataError(
            "rows cannot be grouped by pictures or sounds", where=f"column {name}", mend="group by another column"
        )
    found = np.empty(len(column), dtype=np.int64)
    known: dict[object, int] = {}
    start = 0
    for chunk in column.chunks:
        encoded = pc.dictionary_encode(chunk)
        values = [label(value) for value in encoded.dictionary.to_pylist()]
        lookup = np.array(
            [-1 if value is None else known.setdefault(value, len(known)) for value in values] + [-1], dtype=np.int64
        )
        indices = pc.fill_null(encoded.indices, len(values)).to_numpy(zero_copy_only=False)
        found[start : start + len(chunk)] = lookup[indices]
        start += len(chunk)
    found = found[rows]
    missing = np.flatnonzero(found < 0)
    found[missing] = len(known) + np.arange(len(missing))
    return found


def times(source: Source, name: str) -> np.ndarray:
    """Times as float seconds or any number that grows with time; NaN where there is none."""
    column = source.table.column(name)
    if pa.types.is_timestamp(column.type):
        micro = pc.cast(column, pa.int64()).to_numpy().astype(np.float64)
        return np.where(column.is_valid().to_numpy(), micro / 1e6, np.nan)
    if not pa.types.is_large_string(column.type):
        return numbers(column)
    known: dict[str | None, float] = {None: np.nan}
    found = np.empty(len(column))
    for i, text in enumerate(cell for chunk in column.chunks for cell in chunk.to_pylist()):
        if text not in known:
            time = to_time(text)
            known[text] = np.nan if time is None else time.timestamp()
        found[i] = known[text]
        if len(known) > 100_000:
            known = {None: np.nan}
    return found


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column as float64; NaN where a cell is missing or no finite number."""
    if column.type == MEDIA:
        return np.full(len(column), np.nan)
    if pa.types.is_large_string(column.type):
        trimmed = pc.utf8_trim_whitespace(column)
        fits = pc.fill_null(pc.match_substring_regex(trimmed, NUMBER), False)
        column = pc.cast(pc.replace_substring_regex(pc.if_else(fits, trimmed, None), r"^\+", ""), pa.float64())
    values = pc.fill_null(pc.cast(column, pa.float64(), safe=False), np.nan).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)
