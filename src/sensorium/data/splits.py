"""Which rows train, which are chosen on, and which are reported on: every kept row in exactly one part.

Each row of the source draws one number from the seed, kept or not, so that setting a few rows aside hardly moves
the others, and the same data and seed always give the same parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from sensorium.data.columns import codes, numbers, times
from sensorium.data.inference import label
from sensorium.data.readers.chunks import MEDIA
from sensorium.data.readers.folder import PARTS
from sensorium.data.schema import Schema
from sensorium.data.tables import Source
from sensorium.errors import DataError
from sensorium.recipe import SplitRecipe

NAMES = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
BINS = 10  # quantiles by which a numeric target is stratified


@dataclass
class Splits:
    """Row numbers of the source, int64 and sorted, by part; ``method`` says in words how they were parted."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    method: str

    def to_dict(self) -> dict[str, Any]:
        """Row counts and method, for the run's report."""
        return {**{name: len(getattr(self, name)) for name in NAMES}, "method": self.method}


def split(source: Source, schema: Schema, spec: SplitRecipe, keep: np.ndarray) -> Splits:
    """Part the rows ``keep`` (row numbers, or a boolean for each row) of ``source``.

    In order of precedence: by column, by time, by group, stratified, random. A group never straddles parts. A
    column's missing validation part is cut from its train part, stratified where the target has classes.

    Raises:
        DataError: too few rows or groups for the parts asked for; a column value that names no part; no test part;
            times that cannot be read.
    """
    rows = _rows(keep, len(source))
    wanted = 1 + (spec.validation > 0) + (spec.test > 0)
    if len(rows) < wanted:
        raise DataError(
            f"{len(rows)} usable rows are too few for {wanted} parts",
            where=source.name,
            mend="add rows, or set data.split",
        )
    keys = np.random.default_rng([spec.seed, 8]).random(len(source))[rows]
    column, group = spec.column or schema.split, spec.group_by or schema.group
    if spec.by_time:
        parts, method = _by_time(source, spec, rows), f"by time in {spec.by_time}, oldest rows train"
    elif column and not spec.group_by:
        parts, method = _by_column(source, schema, spec, rows, keys, column)
    elif group:
        groups = codes(source, group, rows)
        strata = _strata(source, schema, rows) if spec.stratify else None
        parts = _grouped(groups, keys, spec, strata, f"column {group}")
        method = f"grouped by {group}{', stratified' if spec.stratify else ''}, seed {spec.seed}"
    elif spec.stratify:
        parts = _systematic(_strata(source, schema, rows), keys, spec)
        method = f"stratified by {schema.target}, seed {spec.seed}"
    else:
        parts, method = _random(keys, spec.validation, spec.test), f"random, seed {spec.seed}"
    return Splits(rows[parts == TRAIN], rows[parts == VALIDATION], rows[parts == TEST], method)


def choose_rows(keep: np.ndarray, most: int | None, seed: int) -> np.ndarray:
    """A fixed random choice of at most ``most`` of the row numbers ``keep``, sorted."""
    keep = np.sort(np.asarray(keep, dtype=np.int64))
    if most is None or len(keep) <= most:
        return keep
    return np.sort(np.random.default_rng([seed, 9]).permutation(keep)[:most])


def _rows(keep: np.ndarray, length: int) -> np.ndarray:
    keep = np.asarray(keep)
    if keep.dtype == bool:
        if len(keep) != length:
            raise ValueError(f"keep has {len(keep)} booleans for {length} rows")
        return np.flatnonzero(keep).astype(np.int64)
    rows: np.ndarray = np.unique(keep.astype(np.int64))
    if len(rows) and not (rows[0] >= 0 and rows[-1] < length):
        raise ValueError(f"keep names rows outside 0 … {length - 1}")
    return rows


def _sizes(rows: int, validation: float, test: float) -> tuple[int, int]:
    """Rows of validation and test: rounded shares, at least one where a share is asked for and rows suffice."""
    n_test = max(round(rows * test), 1) if test else 0
    n_validation = max(round(rows * validation), 1) if validation else 0
    while n_test + n_validation >= rows:  # tiny tables: training keeps a row
        if n_test >= n_validation:
            n_test -= 1
        else:
            n_validation -= 1
    return n_validation, n_test


def _random(keys: np.ndarray, validation: float, test: float) -> np.ndarray:
    n_validation, n_test = _sizes(len(keys), validation, test)
    parts = np.full(len(keys), TRAIN)
    order = np.argsort(keys, kind="stable")
    parts[order[:n_test]] = TEST
    parts[order[n_test : n_test + n_validation]] = VALIDATION
    return parts


# -- stratified ------------------------------------------------------------------------------------


def _systematic(strata: np.ndarray, keys: np.ndarray, spec: SplitRecipe) -> np.ndarray:
    """Every (1/share)-th row of the rows sorted by stratum: each stratum gets its share to within a row or so."""
    order = np.lexsort((keys, strata))
    rows = len(order)
    parts = np.full(rows, TRAIN)
    n_validation, n_test = _sizes(rows, spec.validation, spec.test)
    offset = np.random.default_rng([spec.seed, 10]).random()
    parts[order[_spread(rows, n_test, offset)]] = TEST
    rest = order[parts[order] == TRAIN]
    parts[rest[_spread(len(rest), n_validation, offset)]] = VALIDATION
    return parts


def _spread(rows: int, count: int, offset: float) -> np.ndarray:
    """``count`` different positions, evenly spaced over ``rows``."""
    return np.floor((np.arange(count) + offset) * rows / max(count, 1)).astype(np.int64)


def _strata(source: Source, schema: Schema, rows: np.ndarray) -> np.ndarray:
    if schema.target is None or schema.target_kind == "text":
        raise DataError(
            "only classes and numbers can be stratified by", where="data.split.stratify", mend="remove stratify"
        )
    if schema.target_kind == "category":
        return codes(source, schema.target, rows)
    values = numbers(source.table.column(schema.target))[rows]
    edges = np.nanquantile(values, np.linspace(0, 1, BINS + 1)[1:-1]) if np.isfinite(values).any() else np.zeros(0)
    return np.where(np.isnan(values), BINS, np.searchsorted(edges, values, side="right"))


# -- grouped ---------------------------------------------------------------------------------------


def _grouped(
    groups: np.ndarray, keys: np.ndarray, spec: SplitRecipe, strata: np.ndarray | None, where: str
) -> np.ndarray:
    """Whole groups, in random order, to test, then validation, then train, as near the shares as groups allow."""
    ids, first, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    wanted = [TRAIN, *([VALIDATION] if spec.validation else []), *([TEST] if spec.test else [])]
    if len(ids) < len(wanted):
        raise DataError(
            f"{len(ids)} groups are too few for {len(wanted)} parts",
            where=where,
            mend="group by another column, or set data.split",
        )
    key = keys[first]
    stratum = np.zeros(len(ids), dtype=np.int64) if strata is None else _majority(inverse, strata, len(ids))
    part = np.full(len(ids), TRAIN)
    # A group larger than a part asked for would overfill it: such groups train.
    shares = [share for share in (spec.validation, spec.test) if share]
    large = sizes > max(1.0, min(shares, default=1.0) * len(groups))
    for one in np.unique(stratum):
        here = np.flatnonzero((stratum == one) & ~large)
        here = here[np.argsort(key[here], kind="stable")]
        total = float(sizes[stratum == one].sum())
        room = float(sizes[here].sum())
        fit = min(1.0, room / max(1.0, total * (spec.validation + spec.test)))
        middle = (np.cumsum(sizes[here]) - sizes[here] / 2) / total
        part[here[middle < fit * (spec.test + spec.validation)]] = VALIDATION
        part[here[middle < fit * spec.test]] = TEST
    for needed in wanted:  # few or uneven groups may have left a part empty
        if not (part == needed).any():
            donor = max(wanted, key=lambda name: int((part == name).sum()))
            given = np.flatnonzero(part == donor)
            part[given[np.lexsort((key[given], sizes[given]))[0]]] = needed
    return part[inverse]


def _majority(inverse: np.ndarray, strata: np.ndarray, groups: int) -> np.ndarray:
    """The most frequent stratum of each group."""
    width = int(strata.max()) + 1
    pairs, counts = np.unique(inverse.astype(np.int64) * width + strata, return_counts=True)
    order = np.lexsort((-counts, pairs // width))
    owners, first = np.unique(pairs[order] // width, return_index=True)
    found = np.zeros(groups, dtype=np.int64)
    found[owners] = pairs[order][first] % width
    return found


# -- by time ---------------------------------------------------------------------------------------


def _by_time(source: Source, spec: SplitRecipe, rows: np.ndarray) -> np.ndarray:
    """The newest rows test, those before them validation; rows of one moment stay together."""
    name = str(spec.by_time)
    when = times(source, name)[rows]
    if (gap := np.flatnonzero(np.isnan(when))).size:
        what = f"{gap.size} rows have no time that can be read in column {name}"
        raise DataError(
            what, where=source.place(int(rows[gap[0]])), mend="write ISO dates such as 2024-05-01, or split otherwise"
        )
    order = np.argsort(when, kind="stable")
    values = when[order]
    n_validation, n_test = _sizes(len(rows), spec.validation, spec.test)
    test_from = _moment(values, len(rows) - n_test) if n_test else len(rows)
    validation_from = min(_moment(values, test_from - n_validation), test_from) if n_validation else test_from
    if validation_from == 0 or (n_test and test_from == len(rows)) or (n_validation and validation_from == test_from):
        raise DataError(
            "too few different times for the parts asked for",
            where=f"column {name}",
            mend="split otherwise, or by a finer time",
        )
    parts = np.full(len(rows), TRAIN)
    parts[order[validation_from:test_from]] = VALIDATION
    parts[order[test_from:]] = TEST
    return parts


def _moment(values: np.ndarray, position: int) -> int:
    """The cut nearest ``position`` that parts different times, never 0 where another exists."""
    cuts = np.flatnonzero(np.diff(values)) + 1
    return int(cuts[np.argmin(np.abs(cuts - position))]) if len(cuts) else 0


# -- by column -------------------------------------------------------------------------------------


def _by_column(
    source: Source, schema: Schema, spec: SplitRecipe, rows: np.ndarray, keys: np.ndarray, name: str
) -> tuple[np.ndarray, str]:
    column = source.table.column(name)
    if column.type == MEDIA:
        raise DataError("pictures or sounds name no parts", where=f"column {name}", mend="choose another column")
    parts = np.empty(len(column), dtype=np.int64)
    start = 0
    for chunk in column.chunks:
        encoded = pc.dictionary_encode(chunk)
        values = [PARTS.get((label(v) or "").lower()) for v in encoded.dictionary.to_pylist()]
        lookup = np.array([NAMES.index(value) if value else -1 for value in values] + [-1])
        parts[start : start + len(chunk)] = lookup[
            pc.fill_null(encoded.indices, len(values)).to_numpy(zero_copy_only=False)
        ]
        start += len(chunk)
    parts = parts[rows]
    if (bad := np.flatnonzero(parts < 0)).size:
        row = int(rows[bad[0]])
        value = label(column[row].as_py())
        what = f"{value!r} in column {name} names no part" if value else f"column {name} is empty"
        raise DataError(what, where=source.place(row), mend="write train, validation (val, valid, dev) or test")
    for part in (TRAIN, TEST):
        if not (parts == part).any():
            raise DataError(
                f"no row is {NAMES[part]}",
                where=f"column {name}",
                mend=f"mark rows {NAMES[part]}, or set data.split otherwise",
            )
    method = f"given by column {name}"
    if not (parts == VALIDATION).any() and spec.validation:
        inside = np.flatnonzero(parts == TRAIN)
        parts[inside] = _cut_validation(source, schema, spec, rows[inside], keys[inside])
        method += f", validation cut from train, seed {spec.seed}"
    return parts, method


def _cut_validation(
    source: Source, schema: Schema, spec: SplitRecipe, rows: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    if len(rows) < 2:
        raise DataError(
            "1 row to train on is too few to cut validation from", where=source.name, mend="mark rows validation"
        )
    share = spec.model_copy(update={"test": 0.0})
    if schema.group:
        return _grouped(codes(source, schema.group, rows), keys, share, None, f"column {schema.group}")
    if schema.target_kind == "category":
        return _systematic(_strata(source, schema, rows), keys, share)
    return _random(keys, spec.validation, 0.0)
