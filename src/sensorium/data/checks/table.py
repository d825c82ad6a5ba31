"""Columns of text, numbers, categories, times and places checked whole: a bounded stretch of Arrow at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensorium.data.checks.duplicates import slices
from sensorium.data.checks.report import DataReport, few, share
from sensorium.data.inference import PLACE, constant, distinct_values, label
from sensorium.data.readers.chunks import MEDIA
from sensorium.data.rows import to_number, to_place, to_time

if TYPE_CHECKING:
    from sensorium.data.schema import Schema
    from sensorium.data.tables import Source

MOSTLY = 0.5  # share of missing cells from which a column is warned about
IMBALANCE = 10  # times that the largest class outnumbers the smallest
LONG = 100_000  # bytes: a mistaken column rather than a text
FEWEST = 3  # rows of a class, below which it can hardly be learnt and measured


def check_inputs(report: DataReport, source: Source, schema: Schema) -> np.ndarray:
    """Note missing, unreadable and constant cells of every input; (rows,) bool: which rows have no input at all."""
    empty = np.ones(len(source), dtype=bool)
    for name, type_ in schema.inputs.items():
        column = source.table.column(name)
        missing, unread, infinite, examples = _survey(column, type_)
        empty &= missing
        gone = int(missing.sum())
        odd = len(unread) + len(infinite)
        if gone > odd:
            grave = "warning" if gone > MOSTLY * len(missing) else "note"
            rows = np.setdiff1d(np.flatnonzero(missing), np.concatenate([unread, infinite]))
            report.add("missing_cells", name, rows, grave, f"missing in {share(gone - odd, len(missing))}")  # type: ignore[arg-type]
        words = {"number": "numbers", "time": "times", "place": "places"}.get(type_, "cells")
        told = f"{len(unread):,} cells are no {words} and count as missing: {few(examples)}"
        report.add("unreadable_cells", name, unread, "warning", told)
        told = f"{len(infinite):,} numbers are infinite and count as missing"
        report.add("infinite_numbers", name, infinite, "warning", told)
        if type_ == "text":
            _check_text(report, column, name)
        if type_ not in ("image", "audio") and len(column) > 1 and gone < len(missing) and constant(column):
            report.add(
                "constant_column", name, [], "warning", "every cell is the same: it can teach nothing", len(column)
            )
    return empty


def _check_text(report: DataReport, column: pa.ChunkedArray, name: str) -> None:
    """Warn of texts with replacement characters (decoded wrongly before they came here) and of endless ones."""
    if not pa.types.is_large_string(column.type):
        return
    broken, endless, start = [], [], 0
    for cells in slices(column):
        broken.append(np.flatnonzero(_bools(pc.match_substring(cells, "\ufffd"))) + start)
        endless.append(np.flatnonzero(_bools(pc.greater(pc.binary_length(cells), LONG))) + start)
        start += len(cells)
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *broken])
    told = f"{len(rows):,} texts hold the character for what could not be decoded (�); save the data as UTF-8"
    report.add("broken_text", name, rows, "warning", told)
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *endless])
    report.add("endless_text", name, rows, "warning", f"{len(rows):,} texts are longer than {LONG:,} bytes")


def _survey(column: pa.ChunkedArray, type_: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Which cells are missing to the model (rows,); rows that say something else; rows of infinities; examples."""
    missing = np.empty(len(column), dtype=bool)
    unread: list[np.ndarray] = []
    infinite: list[np.ndarray] = []
    examples: list[str] = []
    start = 0
    for cells in slices(column):
        blank, wild, bad = survey_cells(cells, type_)
        missing[start : start + len(cells)] = blank | wild | bad
        unread.append(np.flatnonzero(bad) + start)
        infinite.append(np.flatnonzero(wild) + start)
        if bad.any() and len(examples) < 4:
            examples += [str(cells[int(i)].as_py()) for i in np.flatnonzero(bad)[: 4 - len(examples)]]
        start += len(cells)
    none = np.zeros(0, dtype=np.int64)
    return missing, np.concatenate([none, *unread]), np.concatenate([none, *infinite]), examples


def survey_cells(cells: pa.Array, type_: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(blank, infinite, unreadable), each (cells,) bool and at most one true: what ``Rows`` would read as None."""
    blank, none = _blank(cells), np.zeros(len(cells), dtype=bool)
    if type_ not in _FITS:
        return blank, none, none
    if pa.types.is_floating(cells.type):
        wild = _bools(pc.is_inf(cells))
        return blank, wild, none if type_ == "number" else ~blank & ~wild
    if not pa.types.is_large_string(cells.type):
        fits = pa.types.is_integer(cells.type) if type_ == "number" else pa.types.is_timestamp(cells.type)
        return blank, none, none if fits else ~blank
    pattern, read = _FITS[type_]
    fits = _bools(pc.match_substring_regex(pc.utf8_trim_whitespace(cells), pattern))
    for i in np.flatnonzero(~fits & ~blank):
        fits[i] = read(cells[int(i)].as_py()) is not None
    wild = none
    if type_ == "number":
        wild = (
            ~fits & ~blank & _bools(pc.match_substring_regex(pc.utf8_trim_whitespace(cells), r"(?i)^[-+]?inf(inity)?$"))
        )
    return blank, wild, ~fits & ~blank & ~wild


# What is surely of the type, told without Python; any other cell is read as ``Rows`` will read it.
_FITS: dict[str, tuple[str, Callable[[object], object]]] = {
    "number": (r"^[-+]?\d{1,18}(\.\d{0,18})?([eE][-+]?\d{1,2})?$", to_number),
    "time": (
        r"^[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"
        r"([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?(Z|[-+]([01]\d|2[0-3]):[0-5]\d)?)?$",
        to_time,
    ),
    "place": (PLACE, to_place),
}


def _blank(cells: pa.Array) -> np.ndarray:
    """Null, NaN, or nothing but white space; of media, neither bytes nor a path."""
    if cells.type == MEDIA:
        data = _bools(pc.greater(pc.binary_length(pc.struct_field(cells, "bytes")), 0))
        return ~(data | ~_blank(pc.struct_field(cells, "path"))) | _bools(pc.is_null(cells))
    blank = _bools(pc.is_null(cells, nan_is_null=pa.types.is_floating(cells.type)))
    if pa.types.is_large_string(cells.type) or pa.types.is_string(cells.type):
        blank |= _bools(pc.or_(pc.equal(pc.binary_length(cells), 0), pc.utf8_is_space(cells)))
    return blank


def _bools(values: pa.Array) -> np.ndarray:
    found: np.ndarray = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return found if found.flags.writeable else found.copy()


# -- the target ------------------------------------------------------------------------------------


def check_target(report: DataReport, source: Source, schema: Schema) -> None:
    """Set aside rows whose target is missing, no number, or a class that is not known; note imbalance."""
    if schema.target is None:
        return
    name, column = schema.target, source.table.column(schema.target)
    type_ = "number" if schema.target_kind == "number" else "text"
    missing, unread, infinite, examples = _survey(column, type_)
    missing[unread] = missing[infinite] = False
    gone = np.flatnonzero(missing)
    report.set_aside(
        "missing_target",
        name,
        gone,
        "the target is missing",
        f"the target is missing in {share(len(gone), len(column))}",
    )
    report.set_aside(
        "bad_target",
        name,
        unread,
        "the target is no number",
        f"{len(unread):,} targets are no numbers: {few(examples)}",
    )
    report.set_aside("bad_target", name, infinite, "the target is infinite", f"{len(infinite):,} targets are infinite")
    if schema.classes is not None:
        rows, values = _strangers(column, set(schema.classes))
        reasons = [f"the class {value[:60]!r} is not known" for value in values]
        told = f"{len(rows):,} targets are of classes that are not known: {few(dict.fromkeys(values))}"
        report.set_aside("unknown_class", name, rows, reasons, told)
        _balance(report, column, name, schema.classes)


def _strangers(column: pa.ChunkedArray, classes: set[str]) -> tuple[list[int], list[str]]:
    rows: list[int] = []
    values: list[str] = []
    start = 0
    for cells in slices(column):
        encoded = pc.dictionary_encode(cells)
        names = [label(value) for value in encoded.dictionary.to_pylist()]
        strange = np.array([name is not None and name not in classes for name in names] + [False])
        codes = pc.fill_null(encoded.indices, len(names)).to_numpy(zero_copy_only=False)
        for i in np.flatnonzero(strange[codes]):
            rows.append(start + int(i))
            values.append(str(names[codes[i]]))
        start += len(cells)
    return rows, values


def _balance(report: DataReport, column: pa.ChunkedArray, name: str, classes: list[str]) -> None:
    found = distinct_values(column, 1 << 20) or {}
    counts = {value: count for value, count in found.items() if value in set(classes)}
    if len(counts) < 2:
        return
    most, least = max(counts, key=lambda v: counts[v]), min(counts, key=lambda v: counts[v])
    total = sum(counts.values())
    if counts[most] >= IMBALANCE * counts[least]:
        told = (
            f"classes are uneven: {str(most)[:40]!r} has {share(counts[most], total)}, {str(least)[:40]!r} {counts[least]:,}; "
            "look at balanced accuracy, or set training.class_weights: balanced"
        )
        report.add("imbalance", name, [], "warning", told, counts[most])
    rare = sorted(str(value) for value, count in counts.items() if count < FEWEST)
    if rare:
        told = f"{len(rare):,} classes have fewer than {FEWEST} rows and can hardly be learnt or measured: {few(rare)}"
        report.add("rare_classes", name, [], "warning", told, len(rare))
