"""The target: missing or unusable cells, imbalance, and inputs that give it away."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sensorium.data.checks_columns import Cells, read_column
from sensorium.data.checks_report import DataReport, Finding, Severity, counted, found, one_line
from sensorium.data.columns import numbers
from sensorium.data.inference import LEAST_EACH, label
from sensorium.data.schema import Schema
from sensorium.data.tables import Source

MAJORITY = 0.9  # share of rows of one class
RAREST = 5  # rows of the rarest class
EQUAL = 0.95  # share of rows in which an input equals the target
LINEAR = 0.99999  # |correlation| of a number that is the target in other units
FEWEST = 20  # rows from which a correlation tells anything


def target_cells(source: Source, schema: Schema) -> Cells | None:
    """The target's cells; None where there is no such column."""
    name = schema.target
    if name is None or name not in source.table.column_names:
        return None
    return read_column(source.table.column(name), "number" if schema.target_kind == "number" else "category")


def check_target(source: Source, schema: Schema, cells: Cells, report: DataReport, *, need_target: bool) -> None:
    """Set aside rows without a usable target, where they need one."""
    name = str(schema.target)
    severity: Severity = "quarantine" if need_target else "note"
    bad = np.flatnonzero(cells.bad | cells.infinite)
    missing = np.flatnonzero(~(cells.present | cells.bad | cells.infinite))
    if len(bad):
        said = f"{counted(len(bad), 'target is', 'targets are')} no finite number"
        report.findings.append(found(source, "bad_target", name, severity, bad, said))
    if len(missing):
        said = f"{counted(len(missing), 'row has', 'rows have')} no target"
        report.findings.append(found(source, "missing_target", name, severity, missing, said))
    if need_target:
        for row in bad.tolist():
            cell = source.table.column(name)[row].as_py()
            report.set_aside([row], name, f"the target {one_line(str(cell), 60)!r} is no finite number")
        report.set_aside(missing, name, "the target is missing")


def check_classes(source: Source, schema: Schema, cells: Cells, report: DataReport) -> None:
    """Imbalance among the rows kept, classes that differ in spelling alone, classes that the model cannot know."""
    if schema.target_kind != "category":
        return
    name = str(schema.target)
    rows = np.flatnonzero(report.keep & cells.present)
    if not len(rows):
        return
    keys, first, inverse, counts = np.unique(
        cells.exact[rows], return_index=True, return_inverse=True, return_counts=True
    )
    column = source.table.column(name)
    names = [str(label(column[int(row)].as_py())) for row in rows[first]]
    most, least = int(counts.argmax()), int(counts.argmin())
    if len(keys) > 1 and counts[most] > MAJORITY * len(rows):
        said = f"{counts[most] / len(rows):.1%} of the rows are {_short(names[most])}"
        report.findings.append(_finding("imbalance", name, int(counts[most]), said, rows[inverse == most]))
    rare = np.flatnonzero(counts < RAREST)
    if len(rare):
        said = f"{counted(len(rare), 'class has', 'classes have')} fewer than {RAREST} rows"
        extra = f"the rarest, {_short(names[least])}, has {counts[least]}"
        report.findings.append(_finding("rare_class", name, len(rare), f"{said}; {extra}", rows[first[rare]]))
    alike, groups = np.unique(cells.alike[rows[first]], return_counts=True)
    if (groups > 1).any():
        same = np.flatnonzero(cells.alike[rows[first]] == alike[groups > 1][0])
        said = f"{int(groups[groups > 1].sum())} classes differ in case or spaces alone, such as "
        said += " and ".join(_short(names[i]) for i in same[:2])
        report.findings.append(_finding("classes_alike", name, int(groups[groups > 1].sum()), said, rows[first[same]]))
    if schema.classes is not None:
        known = set(schema.classes)
        unknown = np.array([i for i, one in enumerate(names) if one not in known], dtype=np.int64)
        strange = rows[np.isin(inverse, unknown)]
        if len(strange):
            said = f"{counted(len(strange), 'row has a class', 'rows have classes')} that the model does not know"
            report.findings.append(found(source, "unknown_class", name, "warning", strange, said))


def check_leakage(
    source: Source, schema: Schema, name: str, cells: Cells, target: Cells, report: DataReport
) -> None:
    """Say so where input ``name`` equals the target, is it in other units, or stands for it one to one."""
    kind = schema.inputs[name]
    if kind not in ("text", "category", "number"):
        return
    both = cells.present & target.present
    rows = np.flatnonzero(both)
    if len(rows) < 2:
        return
    equal = cells.alike[rows] == target.alike[rows]
    column, aim = source.table.column(name), source.table.column(str(schema.target))
    numeric = schema.target_kind == "number" or not pa.types.is_large_string(aim.type)
    ours, theirs = np.zeros(0), np.zeros(0)
    if numeric or kind == "number":
        ours, theirs = numbers(column)[rows], numbers(aim)[rows]
        with np.errstate(invalid="ignore"):
            equal = equal | (np.abs(ours - theirs) <= 1e-9 * np.abs(theirs))
    same = rows[equal]
    if len(same) >= EQUAL * len(rows):
        said = f"equals the target in {counted(len(same), 'row')} ({len(same) / len(rows):.1%}): leave it out"
        report.findings.append(found(source, "leakage", name, "warning", same, said))
        return
    if schema.target_kind == "category" and _one_to_one(cells.exact[rows], target.exact[rows]):
        said = f"each value stands for one value of {schema.target} in {counted(len(rows), 'row')}: leave it out"
        report.findings.append(found(source, "leakage", name, "warning", rows, said))
    elif schema.target_kind == "number" and _linear(ours, theirs):
        said = f"is {schema.target} in other units in {counted(len(rows), 'row')}: leave it out"
        report.findings.append(found(source, "leakage", name, "warning", rows, said))
    elif schema.target_kind == "text" and len(same):
        said = f"equals the target in {counted(len(same), 'row')}"
        report.findings.append(found(source, "equals_target", name, "note", same, said))


def _one_to_one(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether values pair up both ways, each often enough that it is no accident."""
    values = len(np.unique(ours))
    if values < 2 or len(ours) < LEAST_EACH * values or values != len(np.unique(theirs)):
        return False
    pairs = np.unique(np.stack([ours, theirs], axis=1), axis=0)
    return len(pairs) == values


def _linear(ours: np.ndarray, theirs: np.ndarray) -> bool:
    fine = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs = ours[fine], theirs[fine]
    if len(ours) < FEWEST or len(np.unique(ours)) < FEWEST or not theirs.std() or not ours.std():
        return False
    return bool(abs(np.corrcoef(ours, theirs)[0, 1]) > LINEAR)


def _finding(kind: str, column: str, count: int, said: str, rows: np.ndarray) -> Finding:
    return Finding(kind, column, count, "warning", one_line(said), [int(row) for row in np.sort(rows)[:5]])


def _short(name: str) -> str:
    return one_line(name, 40)
