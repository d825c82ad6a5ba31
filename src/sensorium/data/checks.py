"""What is wrong with a table's rows: bad ones are set aside with a reason, doubtful ones counted and shown.

Plain columns are looked at a batch at a time (``checks_columns``), pictures and sounds each once, by threads
(``checks_media``), the target for balance and leakage (``checks_target``), rows for duplicates (``duplicates``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

from sensorium.data.checks_chats import check_chats
from sensorium.data.checks_columns import Cells, mixed, read_column
from sensorium.data.checks_media import Looker, MediaFindings, look_at_all
from sensorium.data.checks_report import DataReport, Finding, counted, found
from sensorium.data.checks_target import check_classes, check_leakage, check_target, target_cells
from sensorium.data.duplicates import check_splits, check_within
from sensorium.data.rows import to_reference
from sensorium.data.schema import Schema, check_columns
from sensorium.data.tables import Source
from sensorium.errors import DataError

__all__ = ["DataReport", "Finding", "check", "check_splits"]

MOSTLY_DIFFERENT = 0.5  # share of distinct texts from which a repeated one is a duplicate rather than a phrase
MEDIA_TYPES = ("image", "audio")


def check(
    source: Source,
    schema: Schema,
    read_media: Callable[[Any], bytes],
    progress: Any = None,
    *,
    stop: bool = False,
    need_target: bool = True,
) -> DataReport:
    """Look at every row of ``source``.

    Args:
        read_media: from a media cell's reference to bytes; raises MediaError.
        progress: shows how far it is (``task(name, total, unit=…)`` gives ``advance(count)``); None shows nothing.
        stop: raise at the first bad row rather than set rows aside.
        need_target: rows without a target are bad.

    Raises:
        DataError: a column of the schema is missing, or, with ``stop``, some row is bad.
    """
    check_columns(schema, source, need_target=need_target)
    rows = len(source)
    report = DataReport(rows, malformed=list(source.malformed))
    report.exact, report.alike = np.zeros(rows, dtype=np.uint64), np.zeros(rows, dtype=np.uint64)
    if report.malformed:
        place, reason = report.malformed[0]
        said = f"{counted(len(report.malformed), 'row')} cannot be parsed, first {place}: it {reason}"
        report.findings.append(Finding("malformed", "", len(report.malformed), "quarantine", said, []))
    target = None if schema.messages else target_cells(source, schema)
    if target is not None:
        report.targets = target.exact
        check_target(source, schema, target, report, need_target=need_target)
    if schema.messages:
        report.targets = np.zeros(rows, dtype=np.uint64)
        check_chats(source, schema, read_media, progress, report)
    else:
        _check_inputs(source, schema, read_media, progress, target, report)
    if target is not None:
        check_classes(source, schema, target, report)
    report.findings.extend(check_within(source, schema, report))
    if stop and (report.quarantined or report.malformed):
        raise _stopped(source, report)
    return report


def _stopped(source: Source, report: DataReport) -> DataError:
    count = len(report.quarantined) + len(report.malformed)
    if report.quarantined:
        row = min(report.quarantined)
        column, reason = report.quarantined[row]
        where = source.place(row) + (f", {column}" if column else "")
    else:
        where, reason = report.malformed[0]
    what = f"{reason.split('; ')[0]} ({counted(count, 'bad row')} in all)"
    return DataError(what, where=where, mend="mend the rows, or set data.bad_rows: quarantine")


def _check_inputs(
    source: Source,
    schema: Schema,
    read_media: Callable[[Any], bytes],
    progress: Any,
    target: Cells | None,
    report: DataReport,
) -> None:
    rows = len(source)
    something = np.zeros(rows, dtype=bool)  # whether any input of a row is present
    media = [name for name, kind in schema.inputs.items() if kind in MEDIA_TYPES]
    total = rows * len(media)
    task = progress.task("checking files", total, unit="files") if progress is not None and total else nullcontext()
    with task as advance:
        for name, kind in schema.inputs.items():
            if kind in MEDIA_TYPES:
                exact, present = _check_media(source, name, kind, read_media, advance, report)
                alike = exact
                _missing(source, name, kind, np.flatnonzero(~present), report)
            else:
                cells = read_column(source.table.column(name), kind)
                exact, alike, present = cells.exact, cells.alike, cells.present
                _check_cells(source, name, kind, cells, report)
                if target is not None:
                    check_leakage(source, schema, name, cells, target, report)
                if kind == "text" and len(np.unique(alike[present])) > MOSTLY_DIFFERENT * max(1, present.sum()):
                    report.texts[name] = alike
            _constant(name, exact, report)
            something |= present
            report.exact, report.alike = mixed(report.exact, exact), mixed(report.alike, alike)
    empty = np.flatnonzero(~something)
    report.exact[empty] = report.alike[empty] = 0
    if len(empty):
        said = f"{counted(len(empty), 'row has', 'rows have')} no input at all"
        report.findings.append(found(source, "empty_row", "", "quarantine", empty, said))
        report.set_aside(empty, "", "every input is missing")


def _check_cells(source: Source, name: str, kind: str, cells: Cells, report: DataReport) -> None:
    bad = np.flatnonzero(cells.bad & ~cells.infinite)
    _missing(source, name, kind, np.flatnonzero(~(cells.present | cells.bad | cells.infinite)), report)
    lasting = {"number": "number", "time": "date or time", "place": "latitude and longitude"}.get(kind, kind)
    for flag, key, one, many in (
        (bad, f"not_a_{kind}", f"cell is no {lasting}", f"cells are no {lasting}"),
        (np.flatnonzero(cells.infinite), "infinite", "number is infinite", "numbers are infinite"),
        (np.flatnonzero(cells.long), "long_text", "text has over 100,000 characters", "texts have over 100,000 characters"),
        (np.flatnonzero(cells.broken), "broken_text", "text has broken characters (�)", "texts have broken characters (�)"),
    ):
        if len(flag):
            extra = "read as missing" if key.startswith("not_a") or (key == "infinite" and kind == "number") else ""
            report.findings.append(found(source, key, name, "warning", flag, counted(len(flag), one, many), extra))


def _missing(source: Source, name: str, kind: str, rows: np.ndarray, report: DataReport) -> None:
    if len(rows):
        one, many = ("text is empty", "texts are empty") if kind == "text" else ("cell is missing", "cells are missing")
        key = "empty_text" if kind == "text" else "missing"
        report.findings.append(found(source, key, name, "note", rows, counted(len(rows), one, many)))


def _constant(name: str, exact: np.ndarray, report: DataReport) -> None:
    if len(exact) > 1 and (exact == exact[0]).all():
        said = f"the same in all {len(exact):,} rows" if exact[0] else f"missing in all {len(exact):,} rows"
        report.findings.append(Finding("constant", name, len(exact), "note", said, [0]))


# -- media columns ---------------------------------------------------------------------------------


def _check_media(
    source: Source, name: str, kind: str, read_media: Callable[[Any], bytes], advance: Any, report: DataReport
) -> tuple[np.ndarray, np.ndarray]:
    """Every cell of a media column: (rows,) uint64 hashes of contents, 0 where none, and (rows,) whether one is there."""
    rows = len(source)
    present = np.zeros(rows, dtype=bool)
    looker = Looker(kind, read_media)
    findings = MediaFindings(source, name, kind, report)

    def references() -> Iterator[tuple[int, Any]]:
        row = 0
        for chunk in source.table.column(name).chunks:
            for cell in chunk:
                reference = to_reference(cell.as_py())
                if reference is not None:
                    present[row] = True
                    yield row, reference
                elif advance is not None:
                    advance(1)
                row += 1

    pairs: list[tuple[int, int]] = []
    for shown in look_at_all(looker.look, references()):
        findings.add(shown)
        if shown.content is not None and shown.problem is None:
            pairs.append((shown.row, shown.content.number))
        if advance is not None:
            advance(1)
    findings.tell()
    media = report.media[name] = looker.media(pairs)
    hashes = np.full(rows, None, dtype=object)
    hashes[media.rows] = np.array(media.hashes, dtype=object)[media.contents]
    report.hashes[name] = hashes
    exact = np.zeros(rows, dtype=np.uint64)
    exact[media.rows] = media.keys[media.contents]
    return exact, present
