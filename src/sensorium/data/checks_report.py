"""What checks found, as the run keeps it: ``data_report.json`` and ``quarantine.jsonl``."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sensorium.data.tables import Source
from sensorium.run import write_atomic

Severity = Literal["note", "warning", "quarantine"]
EXAMPLES = 5  # rows that a finding names
WIDTH = 80  # columns of a terminal
_ORDER = {"quarantine": 0, "warning": 1, "note": 2}


@dataclass
class Finding:
    """One thing found: how often, where, and how grave.

    ``severity`` quarantine: the rows were set aside; warning: they are used, and someone should look; note: worth
    knowing. ``message`` is one line: what, how many, and the first place. ``rows``: the first few, by row number.
    """

    kind: str
    column: str
    count: int
    severity: Severity
    message: str
    rows: list[int] = field(default_factory=list)


@dataclass
class Media:
    """The distinct contents of one media column (or of all chats' pictures), and which rows show them.

    ``rows`` (shown,) int64 and ``contents`` (shown,) int32: row ``rows[k]`` shows content ``contents[k]``; ``hashes``:
    hex SHA-256 of each content; ``looks`` (contents,) uint64: perceptual hashes; ``colours`` (contents, 48) uint8: the
    picture in 4 × 4 coarse dots; ``comparable`` (contents,) bool: pictures with enough in them to be compared.
    """

    type: str
    rows: np.ndarray
    contents: np.ndarray
    hashes: list[str]
    looks: np.ndarray
    colours: np.ndarray
    comparable: np.ndarray


@dataclass
class DataReport:
    """What is wrong with a table's rows.

    Attributes:
        rows: of the table.
        quarantined: row number -> (column, reason) of the rows set aside.
        hashes: of each media column, (rows,) objects: the content's hex SHA-256, None where there is none.
        malformed: (place, reason) of rows that never entered the table.
        exact: (rows,) uint64, equal for rows with the same inputs; 0 where all are missing.
        alike: the same, without regard to case, white space and Unicode's form.
        texts: of columns of mostly different texts, (rows,) uint64 such as ``alike``'s.
        media: what ``check_splits`` compares pictures and sounds by.
    """

    rows: int
    findings: list[Finding] = field(default_factory=list)
    quarantined: dict[int, tuple[str, str]] = field(default_factory=dict)
    hashes: dict[str, np.ndarray] = field(default_factory=dict)
    malformed: list[tuple[str, str]] = field(default_factory=list)
    exact: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    alike: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    texts: dict[str, np.ndarray] = field(default_factory=dict)
    media: dict[str, Media] = field(default_factory=dict)

    @property
    def keep(self) -> np.ndarray:
        """(rows,) bool: which rows of the table are not set aside."""
        keep = np.ones(self.rows, dtype=bool)
        keep[np.fromiter(self.quarantined, dtype=np.int64, count=len(self.quarantined))] = False
        return keep

    def set_aside(self, rows: Iterable[int], column: str, reason: str) -> None:
        """Quarantine ``rows``; a row's first reason stands."""
        for row in rows:
            self.quarantined.setdefault(int(row), (column, reason))

    def to_dict(self) -> dict[str, Any]:
        """The content of ``data_report.json``. ``rows`` and ``quarantined`` count malformed rows too."""
        reasons = Counter(_kind_of(reason) for _, reason in self.quarantined.values())
        reasons.update(_kind_of(reason) for _, reason in self.malformed)
        return {
            "rows": self.rows + len(self.malformed),
            "findings": [asdict(finding) for finding in self.sorted_findings()],
            "quarantined": len(self.quarantined) + len(self.malformed),
            "quarantined_reasons": dict(reasons.most_common()),
        }

    def sorted_findings(self) -> list[Finding]:
        """Gravest first, then most frequent."""
        return sorted(self.findings, key=lambda finding: (_ORDER[finding.severity], -finding.count))

    def lines(self) -> list[str]:
        """For people: a line for the whole and one a finding, wrapped at 80 columns."""
        aside = len(self.quarantined) + len(self.malformed)
        told = f"{self.rows + len(self.malformed):,} rows, " + (f"{aside:,} set aside" if aside else "none set aside")
        lines = [told if self.findings else f"{told}, nothing found wrong"]
        for finding in self.sorted_findings():
            column = f"{finding.column}: " if finding.column else ""
            text = one_line(f"{finding.severity}: {column}{finding.message}")
            lines += textwrap.wrap(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)
        return lines

    def write_quarantine(self, path: str | Path, source: Source) -> None:
        """``quarantine.jsonl``: id (row number, None of a malformed row), place, file, column and reason a line."""
        lines = []
        for row, (column, reason) in sorted(self.quarantined.items()):
            file = _file_of(source, row, column) or source.places(row)[0]
            lines.append({"id": row, "place": source.place(row), "file": file, "column": column, "reason": reason})
        for place, reason in self.malformed:
            file = place.rsplit(f" {source.places.unit} ", 1)[0]
            lines.append({"id": None, "place": place, "file": file, "column": "", "reason": reason})
        write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _file_of(source: Source, row: int, column: str) -> str | None:
    """The path in a media cell, where that is what is wrong."""
    if column not in source.table.column_names:
        return None
    cell = source.table.column(column)[row].as_py()
    path = cell.get("path") if isinstance(cell, dict) else None
    return str(path)[:4096] if path else None


def _kind_of(reason: str) -> str:
    """A reason without the place before it and the mend behind it, so that equal ones are counted together."""
    return reason.split("; ")[0].rsplit(": ", 1)[-1][:120]


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 cell``, ``1,200 cells``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def one_line(text: str, limit: int = 400) -> str:
    """Without control characters and line breaks, and not endless: a hostile cell stays text on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def found(
    source: Source, kind: str, column: str, severity: Severity, rows: np.ndarray, said: str, extra: str = ""
) -> Finding:
    """A finding about ``rows`` (row numbers, sorted): ``said`` tells how many and what; the first place is added."""
    first = f", first {source.place(int(rows[0]))}" if len(rows) else ""
    message = one_line(f"{said}{first}{f'; {extra}' if extra else ''}")
    return Finding(kind, column, len(rows), severity, message, [int(row) for row in rows[:EXAMPLES]])
