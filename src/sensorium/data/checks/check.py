"""What is wrong with data before anything is learnt from them: row by row, and across splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sensorium.data.checks.duplicates import (
    DISTANCE,
    among,
    column_keys,
    contradicting,
    look_alikes,
    repeated,
    row_keys,
)
from sensorium.data.checks.leakage import check_leakage
from sensorium.data.checks.media import ReadMedia, scan_chats, scan_media
from sensorium.data.checks.report import FEW, DataReport, Finding, MediaHashes, few, share
from sensorium.data.checks.table import check_inputs, check_target
from sensorium.data.columns import codes
from sensorium.data.schema import check_columns

if TYPE_CHECKING:
    from sensorium.data.schema import Schema
    from sensorium.data.splits import Splits
    from sensorium.data.tables import Source

__all__ = ["DataReport", "Finding", "MediaHashes", "check", "check_splits"]


def check(
    source: Source,
    schema: Schema,
    read_media: ReadMedia,
    progress: Any = None,
    *,
    stop: bool = False,
    need_target: bool = True,
) -> DataReport:
    """Look at every row once, whatever their number in bounded memory (media: some 100 bytes a cell).

    Rows whose media cannot be read, whose target is missing or of no use, or which have no input at all are
    quarantined; what is odd but usable is warned of or noted.

    Args:
        read_media: from a media cell's reference to bytes.
        progress: an object whose ``task(name, total, unit=…)`` opens a bar, a function (done, total), or None.
        stop: raise at the first bad row instead of setting it aside (``bad_rows: stop``).
        need_target: rows are to be learnt from or scored; else the target is not looked at.

    Raises:
        DataError: a column is not there; or, with ``stop``, a row is bad: the first one, and how many there are.
    """
    check_columns(schema, source, need_target=need_target)
    report = DataReport(len(source), malformed=list(source.malformed))
    if report.malformed:
        place, reason = report.malformed[0]
        told = f"{len(report.malformed):,} rows could not be read and were left out; the first: {place}: {reason}"
        report.add("malformed_rows", "", [], "quarantine", told, len(report.malformed))
    if need_target:
        check_target(report, source, schema)
    cells = check_inputs(report, source, schema) if schema.inputs else np.zeros(0, dtype=bool)
    empty = np.flatnonzero(cells) if schema.messages is None else np.zeros(0, dtype=np.int64)  # a chat is input enough
    told = f"{len(empty):,} rows have no input at all"
    report.set_aside("empty_row", "", empty, "every input is missing", told)
    media = [(name, type_) for name, type_ in schema.inputs.items() if type_ in ("image", "audio")]
    for name, type_ in media:
        with _advancing(progress, f"checking {name}", len(source)) as advance:
            scan_media(report, source.table.column(name), name, type_, read_media, advance)
    if schema.messages is not None:
        with _advancing(progress, "checking chats", len(source)) as advance:
            column = source.table.column(schema.messages)
            scan_chats(report, column, schema.messages, source, read_media, advance, answered=need_target)
    if stop:
        report.raise_if_bad(source)
    if need_target:
        check_leakage(report, source, schema)
    _check_repeats(report, source, schema)
    pa.default_memory_pool().release_unused()
    return report


@contextmanager
def _advancing(progress: Any, name: str, total: int) -> Iterator[Callable[[int], Any]]:
    if hasattr(progress, "task"):
        with progress.task(name, total, unit="rows") as advance:
            yield advance
        return
    done = 0

    def advance_by(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    yield advance_by


def _check_repeats(report: DataReport, source: Source, schema: Schema) -> None:
    """Note rows that repeat an earlier one, and equal inputs with different targets."""
    report.row_keys = row_keys(source, schema, report.hashes)
    keep = np.ones(len(source), dtype=bool)
    keep[list(report.quarantined)] = False
    rows = np.flatnonzero(keep)
    keys = report.row_keys[rows]
    again = repeated(keys)
    if not len(again):
        return
    told = f"{share(len(again), len(rows))} have the inputs of an earlier row"
    report.add("duplicate_rows", "", rows[again], "note", told)
    if schema.target is None or schema.target not in source.table.column_names:
        return
    targets = column_keys(source.table.column(schema.target))[rows]
    mixed = contradicting(keys, targets)
    told = f"{share(len(mixed), len(rows))} have the inputs of another row and a different {schema.target}"
    report.add("contradicting_rows", schema.target, rows[mixed], "note", told)


# -- across splits ---------------------------------------------------------------------------------


def check_splits(
    source: Source,
    schema: Schema,
    splits: Splits,
    hashes: dict[str, MediaHashes],
    row_keys_: np.ndarray | None = None,
) -> list[Finding]:
    """What validation and test share with training, so that a score there would flatter.

    Equal media (by content), pictures that look alike (by perceptual hash and colours), equal rows (texts whatever
    their case and white space), and classes that no training row has.

    Args:
        hashes: ``DataReport.hashes``; row_keys_: ``DataReport.row_keys``, computed anew where None.
    """
    report = DataReport(len(source))
    parts = [np.asarray(part, dtype=np.int64) for part in (splits.train, splits.validation, splits.test)]
    held_out = len(parts[1]) + len(parts[2])
    pairs = [(parts[1], parts[0]), (parts[2], np.concatenate([parts[0], parts[1]]))]
    for name, found in hashes.items():
        keys = found.keys()
        equal = _shared(keys, [tuple(rows[found.known[rows]] for rows in pair) for pair in pairs])
        told = f"{share(len(equal), held_out)} in validation or test have {_a(schema, name)} that another split has too"
        report.add("duplicates_across_splits", name, equal, "warning", told)
        _check_alike(report, name, found, pairs, equal, held_out)
    inputs = list(schema.inputs)
    if len(inputs) != 1 or inputs[0] not in hashes:
        keys = row_keys(source, schema, hashes) if row_keys_ is None else row_keys_
        equal = _shared(keys, pairs)
        rich = schema.messages or any(type_ in ("text", "image", "audio") for type_ in schema.inputs.values())
        told = f"{share(len(equal), held_out)} in validation or test have the same inputs as a row of another split"
        report.add("duplicate_rows_across_splits", "", equal, "warning" if rich else "note", told)
    _check_classes(report, source, schema, parts)
    return report.findings


def _shared(keys: np.ndarray, pairs: list[Any]) -> np.ndarray:
    return np.concatenate([rows[among(keys[rows], keys[others])] for rows, others in pairs])


def _check_alike(
    report: DataReport, name: str, hashes: MediaHashes, pairs: list[Any], equal: np.ndarray, held_out: int
) -> None:
    found, twins, complete = [], [], True
    for rows, others in pairs:
        alike, twin, whole = look_alikes(hashes, np.setdiff1d(rows, equal), others)
        found.append(alike)
        twins.append(twin)
        complete &= whole
    rows, others = np.concatenate(found), np.concatenate(twins)
    if len(rows):
        some = ", ".join(f"{row:,} and {other:,}" for row, other in zip(rows[:FEW], others[:FEW]))
        at_least = "" if complete else "at least "
        told = (
            f"{at_least}{share(len(rows), held_out)} in validation or test have a picture that looks like one of another "
            f"split (at most {DISTANCE} of 64 bits apart): rows {some}"
        )
        report.add("near_duplicates_across_splits", name, [], "warning", told, len(rows))


def _check_classes(report: DataReport, source: Source, schema: Schema, parts: list[np.ndarray]) -> None:
    if schema.target is None or schema.classes is None:
        return
    ids = codes(source, schema.target, np.arange(len(source)))
    rows = np.concatenate(parts[1:])
    strange = rows[~among(ids[rows], ids[parts[0]])]
    names = {str(source.table.column(schema.target)[int(row)].as_py()) for row in strange[:1000]}
    told = f"{len(strange):,} rows in validation or test are of classes that no training row has: {few(sorted(names))}"
    report.add("classes_not_trained", schema.target, strange, "warning", told)


def _a(schema: Schema, name: str) -> str:
    return {"image": "a picture", "audio": "a sound"}.get(schema.inputs.get(name, ""), "content")
