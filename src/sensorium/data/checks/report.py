"""What was found in data: counted, explained, and which rows are set aside."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sensorium.errors import DataError
from sensorium.run import write_atomic

if TYPE_CHECKING:
    from sensorium.data.tables import Source

Severity = Literal["note", "warning", "quarantine"]
FEW = 5  # rows that a finding names
SHOWN = 100  # rows set aside that the report itself lists; quarantine.jsonl has them all
SEVERITIES: tuple[Severity, ...] = ("quarantine", "warning", "note")
WORDS = {"quarantine": "set aside", "warning": "warning", "note": "note"}


@dataclass
class Finding:
    """One kind of thing found in one column (or, with column "", in rows as a whole)."""

    kind: str
    column: str
    count: int
    severity: Severity
    message: str
    rows: list[int] = field(default_factory=list)


class MediaHashes:
    """What identifies each picture or sound of a column.

    ``hashes[row]`` is the hex SHA-256 of the row's bytes, None where there is none that can be read.

    Attributes:
        content: (rows, 32) uint8, the digests; known: (rows,) bool.
        alike: (rows,) uint64, perceptual hashes of pictures; thumbnails: (rows, 48) uint8, 4 × 4 pixels in RGB;
            varied: (rows,) bool, whether both say something (of a sound or a blank picture they do not).
    """

    def __init__(self, rows: int) -> None:
        self.content = np.zeros((rows, 32), dtype=np.uint8)
        self.known = np.zeros(rows, dtype=bool)
        self.alike = np.zeros(rows, dtype=np.uint64)
        self.thumbnails = np.zeros((rows, 48), dtype=np.uint8)
        self.varied = np.zeros(rows, dtype=bool)

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, row: int) -> str | None:
        return self.content[row].tobytes().hex() if self.known[row] else None

    def keys(self) -> np.ndarray:
        """(rows,) uint64: the first eight bytes of each digest; equal for equal content."""
        return self.content[:, :8].copy().view(np.uint64)[:, 0]


@dataclass
class DataReport:
    """Rows, findings, and which rows are set aside.

    Attributes:
        quarantined: row number: (column, reason), one reason a row.
        malformed: (place, reason) of lines that never became rows.
        hashes: media column: content hashes, for caches and duplicates.
        row_keys: (rows,) uint64, equal where all inputs are; None before they are needed.
    """

    rows: int
    findings: list[Finding] = field(default_factory=list)
    quarantined: dict[int, tuple[str, str]] = field(default_factory=dict)
    malformed: list[tuple[str, str]] = field(default_factory=list)
    hashes: dict[str, MediaHashes] = field(default_factory=dict)
    row_keys: np.ndarray | None = None

    def add(
        self,
        kind: str,
        column: str,
        rows: np.ndarray | list[int],
        severity: Severity,
        message: str,
        count: int | None = None,
    ) -> None:
        """Note a finding about ``rows``; of none, nothing is noted."""
        counted = len(rows) if count is None else count
        if counted:
            self.findings.append(Finding(kind, column, counted, severity, message, [int(row) for row in rows[:FEW]]))

    def set_aside(
        self, kind: str, column: str, rows: np.ndarray | list[int], reasons: str | Iterable[str], message: str
    ) -> None:
        """Quarantine ``rows``, with one reason for all or one each; a row set aside before keeps its first reason."""
        each = [reasons] * len(rows) if isinstance(reasons, str) else list(reasons)
        for row, reason in zip(rows, each, strict=True):
            self.quarantined.setdefault(int(row), (column, reason))
        self.add(kind, column, rows, "quarantine", message)

    def raise_if_bad(self, source: Source) -> None:
        """Raise a DataError that names the first bad row and how many there are, if there is one (bad_rows: stop)."""
        bad = len(self.quarantined) + len(self.malformed)
        if not bad:
            return
        if self.quarantined:
            row = min(self.quarantined)
            column, reason = self.quarantined[row]
            where = f"{source.place(row)}, column {column}" if column else source.place(row)
        else:
            where, reason = self.malformed[0]
        more = f" (the first of {bad:,} bad rows)" if bad > 1 else ""
        raise DataError(f"{reason}{more}", where=where, mend="mend the data, or set data.bad_rows: quarantine")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for data_report.json."""
        first = sorted(self.quarantined)[:SHOWN]
        return {
            "rows": self.rows,
            "usable": self.rows - len(self.quarantined),
            "quarantined": len(self.quarantined),
            "malformed": len(self.malformed),
            "findings": [asdict(finding) for finding in self._sorted()],
            "rejected": [{"row": r, "column": self.quarantined[r][0], "reason": self.quarantined[r][1]} for r in first],
        }

    def lines(self, width: int = 80) -> list[str]:
        """The report in lines of at most ``width`` characters, gravest first."""
        aside = f", {len(self.quarantined):,} set aside" if self.quarantined else ""
        unread = f", {len(self.malformed):,} malformed and left out" if self.malformed else ""
        told = [f"{self.rows:,} rows, {self.rows - len(self.quarantined):,} usable{aside}{unread}"]
        for finding in self._sorted():
            head = f"{WORDS[finding.severity]}: " + (f"{finding.column}: " if finding.column else "")
            numbers = ", ".join(f"{row:,}" for row in finding.rows) + (
                ", …" if finding.count > len(finding.rows) else ""
            )
            where = f" (rows {numbers})" if finding.rows else ""
            line = " ".join("".join(c if c.isprintable() else " " for c in head + finding.message + where).split())
            told += textwrap.wrap(line, width, subsequent_indent="    ", initial_indent="  ")
        return told

    def write_quarantine(self, path: str | Path, source: Source) -> None:
        """Every row set aside as a line of JSON: id (row number from 0; null for malformed lines), file, column, reason."""
        told: list[dict[str, Any]] = [{"id": None, "file": p, "column": None, "reason": r} for p, r in self.malformed]
        for row in sorted(self.quarantined):
            column, reason = self.quarantined[row]
            told.append({"id": row, "file": source.place(row), "column": column or None, "reason": reason})
        write_atomic(path, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in told))

    def _sorted(self) -> list[Finding]:
        return sorted(self.findings, key=lambda finding: SEVERITIES.index(finding.severity))


def few(values: Iterable[Any], most: int = 3) -> str:
    """The first of ``values``, quoted and cut, for a message."""
    listed = list(values)
    shown = ", ".join(repr(str(value)[:40]) for value in listed[:most])
    return shown + (f" and {len(listed) - most:,} more" if len(listed) > most else "")


def share(count: int, of: int) -> str:
    """``7 of 90 rows (8 %)``"""
    part = 100 * count / max(of, 1)
    told = f"{part:.0f}" if part >= 10 or part == 0 else f"{part:.1g}"
    return f"{count:,} of {of:,} rows ({told} %)"
