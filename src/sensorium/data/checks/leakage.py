"""Inputs that give the target away: equal to it, one-to-one with it, or a straight line to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensorium.data.checks.duplicates import ROWS, normal_text
from sensorium.data.checks.report import DataReport, share
from sensorium.data.readers.chunks import MEDIA

if TYPE_CHECKING:
    from sensorium.data.schema import Schema
    from sensorium.data.tables import Source

EQUAL = 0.9  # agreement beyond chance (Cohen's kappa) from which an input counts as the target itself
MOST_PAIRS = 20_000  # different (input, target) pairs that are counted; beyond, a column is no code for the target
OFTEN = 5  # rows a value, on average, below which a rule that it goes with one target says little
LINE = 1 - 1e-9  # squared correlation of numbers that are one quantity in two units


class Pairs:
    """Counts of (input, target) values, kept while there are few, and of rows in which the two are equal."""

    def __init__(self) -> None:
        self.rows = self.equal = 0
        self.counts: dict[tuple[str, str], int] | None = {}
        self.examples: list[int] = []

    def add(self, cells: pa.Array, targets: pa.Array, start: int) -> None:
        """Count one stretch of rows, of which the first is row ``start``; both as normal text."""
        same = pc.fill_null(pc.equal(cells, targets), False)
        if len(self.examples) < 5:
            self.examples += [start + int(i) for i in np.flatnonzero(same.to_numpy(zero_copy_only=False))[:5]]
        self.rows += pc.sum(pc.and_(pc.is_valid(cells), pc.is_valid(targets))).as_py() or 0
        self.equal += pc.sum(same).as_py() or 0
        if self.counts is None:
            return
        table = pa.table({"input": cells, "target": targets}).filter(pc.and_(pc.is_valid(cells), pc.is_valid(targets)))
        here = table.group_by(["input", "target"], use_threads=False).aggregate([([], "count_all")])
        if here.num_rows + len(self.counts) > 2 * MOST_PAIRS:
            self.counts = None
            return
        for one, other, count in zip(*(here.column(i).to_pylist() for i in range(3)), strict=True):
            self.counts[one, other] = self.counts.get((one, other), 0) + count
        if len(self.counts) > MOST_PAIRS:
            self.counts = None

    def marginals(self) -> tuple[dict[str, int], dict[str, int]]:
        """Rows of each input value, and of each target value."""
        inputs: dict[str, int] = {}
        targets: dict[str, int] = {}
        for (one, other), count in (self.counts or {}).items():
            inputs[one] = inputs.get(one, 0) + count
            targets[other] = targets.get(other, 0) + count
        return inputs, targets

    def kappa(self) -> float:
        """Agreement beyond chance."""
        inputs, targets = self.marginals()
        chance = sum(count * targets.get(value, 0) for value, count in inputs.items()) / max(self.rows, 1) ** 2
        return (self.equal / max(self.rows, 1) - chance) / max(1 - chance, 1e-9)


def check_leakage(report: DataReport, source: Source, schema: Schema) -> None:
    """Warn of every input, media aside, that equals the target or determines it."""
    if schema.target is None or len(source) < 2:
        return
    target = source.table.column(schema.target)
    for name in schema.inputs:
        column = source.table.column(name)
        if column.type == MEDIA or schema.inputs[name] in ("image", "audio"):
            continue
        pairs, line = Pairs(), Line()
        numeric = schema.target_kind == "number" and _is_number(column) and _is_number(target)
        for start in range(0, len(source), ROWS):
            cells, targets = (_whole(c.slice(start, ROWS)) for c in (column, target))
            if numeric:
                line.add(cells, targets)
            pairs.add(_as_text(cells), _as_text(targets), start)
        _judge(report, name, schema.target, pairs, line.squared() if numeric else 0.0)


def _judge(report: DataReport, name: str, target: str, pairs: Pairs, squared: float) -> None:
    inputs, targets = pairs.marginals()
    given = "so the answer is given away; leave it out of data.inputs if it is not known when predicting"
    if pairs.equal and pairs.kappa() >= EQUAL:
        told = f"it equals the target in {share(pairs.equal, pairs.rows)}, {given}"
        report.add("target_leakage", name, pairs.examples, "warning", told, pairs.equal)
    elif squared >= LINE:
        told = f"it is a straight line to the target in all {pairs.rows:,} rows, {given}"
        report.add("target_leakage", name, [], "warning", told, pairs.rows)
    elif pairs.counts and len(targets) > 1 and len(pairs.counts) == len(inputs) and pairs.rows >= OFTEN * len(inputs):
        if len(inputs) == len(targets):
            told = f"its {len(inputs):,} values go one-to-one with those of {target}, {given}"
            report.add("target_leakage", name, [], "warning", told, pairs.rows)
        else:
            told = f"each of its {len(inputs):,} values goes with a single {target}; make sure that it is known when predicting"
            report.add("determines_target", name, [], "note", told, pairs.rows)


class Line:
    """Running moments of two columns, from which comes their squared correlation."""

    def __init__(self) -> None:
        self.moments = np.zeros((3, 3))  # of (1, x, y), shifted and scaled by the first stretch
        self.shift: np.ndarray | None = None

    def add(self, cells: pa.Array, targets: pa.Array) -> None:
        pair = np.stack(
            [pc.fill_null(pc.cast(c, pa.float64()), np.nan).to_numpy(zero_copy_only=False) for c in (cells, targets)]
        )
        pair = pair[:, np.isfinite(pair).all(axis=0)]
        if not pair.size:
            return
        if self.shift is None:
            self.shift = np.stack(
                [pair.mean(axis=1), np.maximum(np.abs(pair - pair.mean(axis=1)[:, None]).max(axis=1), 1e-300)]
            )
        scaled = (pair - self.shift[0][:, None]) / self.shift[1][:, None]
        whole = np.concatenate([np.ones((1, pair.shape[1])), scaled])
        with np.errstate(over="ignore", invalid="ignore"):
            self.moments += whole @ whole.T

    def squared(self) -> float:
        count = self.moments[0, 0]
        if count < 3:
            return 0.0
        mean = self.moments[0, 1:] / count
        spread = self.moments[1:, 1:] / count - np.outer(mean, mean)
        found = spread[0, 1] ** 2 / max(float(spread[0, 0] * spread[1, 1]), 1e-30)
        return float(found) if np.isfinite(found) else 0.0


def _is_number(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_integer(column.type) or pa.types.is_floating(column.type))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _as_text(cells: pa.Array) -> pa.Array:
    """Cells as normal text; null where missing. Whole floats lose their point, as classes do."""
    if not pa.types.is_large_string(cells.type):
        if pa.types.is_floating(cells.type):
            cells = pc.if_else(pc.is_finite(cells), cells, None)
        return pc.cast(cells, pa.large_string())
    text = normal_text(cells)
    return pc.if_else(pc.equal(text, ""), None, text)
