"""What was found in interactions, counted and told, and which rows are set aside, with the reason."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensorium.data.columns import numbers
from sensorium.data.inference import label
from sensorium.data.readers.chunks import MEDIA
from sensorium.data.rows import to_time
from sensorium.data.tables import Source
from sensorium.errors import DataError
from sensorium.run import write_atomic

SHOWN = 100  # rows set aside that the report itself lists; quarantine.jsonl has them all
FAR = 1e11  # seconds, in the year 5138: times beyond count in smaller units


@dataclass
class InteractionReport:
    """What was read and what was found in it.

    Attributes:
        name: of the data; rows: interactions before the checks; usable: after them and the k-core.
        findings: kind: how many.
        told: kind: the same in words, one line each.
        dropped: the kinds whose rows are not used.
        set_aside: row (from 0; None for lines that never became rows), file (its place there), column, reason.
    """

    name: str
    rows: int
    usable: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    set_aside: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, count: int, line: str) -> None:
        """Note ``count`` of a kind; of none, nothing is noted."""
        if count:
            self.findings[kind] = self.findings.get(kind, 0) + count
            self.told[kind] = line.format(n=f"{self.findings[kind]:,}")

    def lines(self) -> list[str]:
        """The report, one finding a line."""
        aside = f", {len(self.set_aside):,} set aside" if self.set_aside else ""
        return [f"{self.name}: {self.rows:,} interactions, {self.usable:,} usable{aside}", *self.told.values()]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for data_report.json."""
        return {
            "rows": self.rows,
            "usable": self.usable,
            "quarantined": len(self.set_aside),
            "findings": dict(self.findings),
            "lines": list(self.told.values()),
            "rejected": self.set_aside[:SHOWN],
        }

    def write_quarantine(self, path: str | Path) -> None:
        """Every row set aside, as a line of JSON."""
        write_atomic(path, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in self.set_aside))


class Sieve:
    """Which rows of a table of interactions are kept; a row that fails two checks keeps its first reason."""

    def __init__(self, source: Source, report: InteractionReport) -> None:
        self.source, self.report = source, report
        self.good = np.ones(len(source), dtype=bool)
        for place, reason in source.malformed:
            self._note(None, place, "", reason)
        report.add("malformed", len(source.malformed), "{n} lines are malformed: left out")

    def drop(self, bad: np.ndarray, kind: str, column: str, reason: str, line: str) -> None:
        """Set aside the kept rows for which ``bad`` (rows,) holds."""
        rows = np.flatnonzero(bad & self.good)
        self.good[rows] = False
        for row in rows.tolist():
            self._note(row, self.source.place(row), column, reason)
        self.report.add(kind, len(rows), line)
        self.report.dropped.add(kind)

    def refuse(self) -> None:
        """Raise a DataError that names the first row set aside, if there is one (``bad_rows: stop``)."""
        aside = self.report.set_aside
        if aside:
            first = min(aside, key=lambda one: -1 if one["row"] is None else one["row"])
            more = f" (the first of {len(aside):,} bad rows)" if len(aside) > 1 else ""
            where = first["file"] + (f", column {first['column']}" if first["column"] else "")
            mend = "mend the data, or set data.bad_rows: quarantine"
            raise DataError(f"{first['reason']}{more}", where=where, mend=mend)

    def _note(self, row: int | None, place: str, column: str, reason: str) -> None:
        self.report.set_aside.append({"row": row, "file": place, "column": column or None, "reason": reason})


def read_times(column: pa.ChunkedArray) -> tuple[np.ndarray, str]:
    """Seconds since 1970 (rows,) float64, NaN where none can be read; and the unit where it was not seconds.

    Numbers are unix times, of milliseconds, microseconds or nanoseconds where most lie past the year 5138; texts are
    numbers or ISO dates; times without a zone are UTC.
    """
    if column.type == MEDIA:
        return np.full(len(column), np.nan), ""
    if pa.types.is_timestamp(column.type):
        micro = pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy().astype(np.float64)
        return np.where(column.is_valid().to_numpy(), micro / 1e6, np.nan), ""
    seconds = numbers(column)
    unit, units = "", iter(("milliseconds", "microseconds", "nanoseconds"))
    known = seconds[np.isfinite(seconds)]
    while len(known) and np.median(known) > FAR and (smaller := next(units, "")):
        seconds, known, unit = seconds / 1000, known / 1000, smaller
    if pa.types.is_large_string(column.type):
        cells = column.combine_chunks().dictionary_encode() if column.num_chunks else pa.array([]).dictionary_encode()
        cells = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
        texts = cells.dictionary.to_pylist()
        told = np.array([_iso(text) for text in texts] + [np.nan])
        written = told[pc.fill_null(cells.indices, len(texts)).to_numpy(zero_copy_only=False)]
        seconds = np.where(np.isnan(seconds), written, seconds)
    return seconds, unit


def read_ratings(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Ratings (rows,) float32, NaN where there is none; and where a cell holds something that is no number."""
    found = numbers(column)
    filled = column.is_valid().to_numpy()
    if pa.types.is_large_string(column.type):
        filled &= pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(column), ""), False).to_numpy()
    elif pa.types.is_floating(column.type):
        filled &= ~pc.fill_null(pc.is_nan(column), True).to_numpy()
    return found.astype(np.float32), filled & np.isnan(found)


def read_ids(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str], int]:
    """One code a distinct id (rows,) int64, -1 where it is missing; the ids as text by code; how many cells were
    written otherwise than their id (1.0, " 1")."""
    codes = np.empty(len(column), dtype=np.int64)
    if column.type == MEDIA:
        codes[:] = -1
        return codes, [], 0
    known: dict[str, int] = {}
    start = otherwise = 0
    for chunk in column.chunks:
        cells = chunk.dictionary_encode()
        values = cells.dictionary.to_pylist()
        names = [id_text(value) for value in values]
        lookup = np.array([-1 if n is None else known.setdefault(n, len(known)) for n in names] + [-1], dtype=np.int64)
        places = pc.fill_null(cells.indices, len(values)).to_numpy(zero_copy_only=False)
        codes[start : start + len(chunk)] = lookup[places]
        odd = [name is not None and name != str(value) for name, value in zip(names, values, strict=True)]
        otherwise += int(np.bincount(places, minlength=len(values) + 1)[:-1][np.array(odd, dtype=bool)].sum())
        start += len(chunk)
    return codes, list(known), otherwise


def id_text(value: object) -> str | None:
    """An id as text: 1, 1.0, "1" and " 1.0 " are all "1"; None where it is missing."""
    text = label(value)
    if text is not None and text.endswith(".0") and text[:-2].lstrip("-").isdecimal():
        return text[:-2]
    return text


def k_core(user: np.ndarray, item: np.ndarray, k: int) -> np.ndarray:
    """(interactions,) bool: those left once users and items with fewer than ``k`` are gone, again and again."""
    kept = np.ones(len(user), dtype=bool)
    while True:
        users = np.bincount(user[kept], minlength=int(user.max(initial=-1)) + 1) >= k
        items = np.bincount(item[kept], minlength=int(item.max(initial=-1)) + 1) >= k
        left = kept & users[user] & items[item]
        if left.sum() == kept.sum():
            return kept
        kept = left


def _iso(text: str | None) -> float:
    time = to_time(text)
    return float("nan") if time is None else time.replace(tzinfo=UTC).timestamp()
