"""What stands in more than one row: equal rows, equal media, and pictures that look alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensorium.data.checks.report import MediaHashes
from sensorium.data.readers.chunks import MEDIA

if TYPE_CHECKING:
    from sensorium.data.schema import Schema
    from sensorium.data.tables import Source

DISTANCE = 4  # of 64 bits, at most, between pictures that look alike
BANDS = 5  # one more than DISTANCE: two hashes that near are equal in at least one band
BUDGET = 300_000_000  # pairs that are compared within one band
BLOCK = 1 << 20  # of them at a time
COLOUR = 8.0  # grey levels, at most, between the 4 × 4 pixels of pictures that look alike
ROWS = 65_536
_MISSING, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


# -- equal rows ------------------------------------------------------------------------------------


def row_keys(source: Source, schema: Schema, hashes: dict[str, MediaHashes]) -> np.ndarray:
    """(rows,) uint64, equal (in this process) where all inputs are equal: media by content, texts whatever their
    case and white space."""
    names = [schema.messages] if schema.messages else list(schema.inputs)
    keys = np.zeros(len(source), dtype=np.uint64)
    for name in names:
        keys = _mixed(keys, column_keys(source.table.column(str(name)), hashes.get(str(name))))
    return keys


def column_keys(column: pa.ChunkedArray, hashes: MediaHashes | None = None) -> np.ndarray:
    """(rows,) uint64, equal where cells are."""
    if hashes is not None:
        return np.where(hashes.known, hashes.keys(), _MISSING)
    keys = np.empty(len(column), dtype=np.uint64)
    start = 0
    for cells in slices(column):
        keys[start : start + len(cells)] = _cell_keys(cells)
        start += len(cells)
    return keys


def _cell_keys(cells: pa.Array) -> np.ndarray:
    if cells.type == MEDIA:  # not read: by path, or bytes
        told = [c and (c["bytes"] or c["path"]) for c in cells.to_pylist()]
        return np.fromiter(map(hash, told), dtype=np.int64, count=len(cells)).view(np.uint64)
    if pa.types.is_large_string(cells.type) or pa.types.is_string(cells.type):
        return np.fromiter(map(hash, normal_text(cells).to_pylist()), dtype=np.int64, count=len(cells)).view(np.uint64)
    values = pc.fill_null(pc.cast(cells, pa.int64() if pa.types.is_timestamp(cells.type) else cells.type), 0)
    numbers = values.to_numpy(zero_copy_only=False)
    keys = (numbers.astype(np.float64) + 0.0).view(np.uint64)
    return np.where(cells.is_valid().to_numpy(zero_copy_only=False), keys, _MISSING)


def normal_text(cells: pa.Array) -> pa.Array:
    """Lower case, runs of white space as one space, none at the ends."""
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(cells), r"\s+", " "))


def slices(column: pa.ChunkedArray, rows: int = ROWS) -> Iterator[pa.Array]:
    """A column in order, at most ``rows`` cells at a time, without copying."""
    for chunk in column.chunks:
        for start in range(0, len(chunk), rows):
            yield chunk.slice(start, rows)


def _mixed(keys: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Combine hashes so that order matters and equal parts do not cancel (the step of splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = (keys ^ (keys >> np.uint64(31))) * _MIX + more + _MISSING
        return (mixed ^ (mixed >> np.uint64(29))) * _MIX


def among(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(queries,) bool: which are among ``keys``. By sorting: on a million hashes many times as fast as np.isin."""
    if not len(keys):
        return np.zeros(len(queries), dtype=bool)
    ordered = np.sort(keys)
    places = np.minimum(np.searchsorted(ordered, queries), len(ordered) - 1)
    return np.asarray(ordered[places] == queries)


def repeated(keys: np.ndarray) -> np.ndarray:
    """Positions of ``keys`` that an earlier position equals, sorted."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    return np.sort(order[same + 1])


def contradicting(keys: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Positions whose key occurs with another target too, sorted."""
    order = np.lexsort((targets, keys))
    key, target = keys[order], targets[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    ends = np.append(starts[1:], len(key))
    mixed = target[starts] != target[ends - 1] if len(key) else np.zeros(0, dtype=bool)
    return np.sort(order[np.repeat(mixed, ends - starts)])


# -- pictures that look alike ----------------------------------------------------------------------


def look_alikes(hashes: MediaHashes, held_out: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Pictures of ``held_out`` rows that look like one of ``others``.

    Alike means: perceptual hashes at most ``DISTANCE`` bits apart, and 4 × 4 pixels of nearly the same colours.

    Returns:
        (found,) rows of ``held_out``, each once, with (found,) a row of ``others`` that it looks like; and whether
        all pairs could be compared within ``BUDGET``.
    """
    left, left_of = _distinct(hashes, held_out)
    right, _ = _distinct(hashes, others)
    pairs, complete = near_pairs(hashes.alike[left], hashes.alike[right])
    colours = hashes.thumbnails
    apart = np.concatenate(
        [
            np.abs(colours[left[block[:, 0]]].astype(np.int16) - colours[right[block[:, 1]]]).mean(axis=1)
            for block in np.array_split(pairs, len(pairs) // BLOCK + 1)
        ]
    )
    pairs = pairs[apart <= COLOUR]
    twin = np.full(len(left), -1, dtype=np.int64)
    twin[pairs[:, 0][::-1]] = right[pairs[:, 1][::-1]]
    usable = held_out[hashes.varied[held_out]]
    found = twin[left_of]
    return usable[found >= 0], found[found >= 0], complete


def _distinct(hashes: MediaHashes, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row for each different look among ``rows``, and for each usable row the position of its look's row."""
    rows = rows[hashes.varied[rows]]
    looks = np.concatenate([hashes.alike[rows].view(np.uint8).reshape(len(rows), 8), hashes.thumbnails[rows]], axis=1)
    whole = np.ascontiguousarray(looks).view(np.dtype((np.void, looks.shape[1]))).ravel()
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return rows[first], inverse.ravel()


def near_pairs(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, bool]:
    """(pairs, 2) positions in ``left`` and ``right``, uint64 hashes at most ``DISTANCE`` bits apart, each pair once.

    Hashes that near agree in at least one of ``BANDS`` bands, so only those in one bucket of a band are compared; the
    second value is False where a band held more than ``BUDGET`` pairs and some were left out.
    """
    found, complete = [np.zeros((0, 2), dtype=np.int64)], True
    for band in range(BANDS):
        low, high = 64 * band // BANDS, 64 * (band + 1) // BANDS
        mask = np.uint64((1 << (high - low)) - 1)
        keys, others = (left >> np.uint64(low)) & mask, (right >> np.uint64(low)) & mask
        order = np.argsort(others, kind="stable")
        first = np.searchsorted(others[order], keys, side="left")
        counts = np.searchsorted(others[order], keys, side="right") - first
        total = np.cumsum(counts)
        stop = int(np.searchsorted(total, BUDGET, side="right"))
        complete &= stop == len(left)
        start = 0
        while start < stop:
            base = int(total[start - 1]) if start else 0
            end = max(start + 1, int(np.searchsorted(total[:stop], base + BLOCK, side="right")))
            here = np.repeat(np.arange(start, end), counts[start:end])
            offsets = np.arange(len(here)) - np.repeat(total[start:end] - counts[start:end] - base, counts[start:end])
            there = order[np.repeat(first[start:end], counts[start:end]) + offsets]
            near = np.bitwise_count(left[here] ^ right[there]) <= DISTANCE
            found.append(np.stack([here[near], there[near]], axis=1))
            start = end
    return np.unique(np.concatenate(found), axis=0), complete
