"""Cells of a table as numbers: standardised, flagged where missing, cyclic for times, on the sphere for places."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from sensorium.errors import DataError

MISSING, UNSEEN = 0, 1  # ids of a category's missing cell and of a value that training rows do not hold
MOST_VALUES = 10_000  # of one category: the most frequent are told apart, the others count as unseen
CLIP = 10.0  # standard deviations at which a number is cut, so that one wild cell cannot drown the others
_HUGE = 1e150  # numbers beyond are taken as this, so that squares stay finite
_BATCH = 8192
TYPES = ("number", "category", "time", "place")


@dataclass
class Column:
    """What was learnt of one column: mean and standard deviation of numbers and times (seconds), values of categories."""

    name: str
    type: str
    mean: float = 0.0
    scale: float = 1.0
    values: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids = {value: UNSEEN + 1 + i for i, value in enumerate(self.values)}

    def ids(self, cells: Sequence[Any]) -> np.ndarray:
        """(rows,) int64: 0 missing, 1 unseen, from 2 on the known values in order."""
        told = map(to_category, cells)
        return np.array([MISSING if c is None else self._ids.get(c, UNSEEN) for c in told], dtype=np.int64)

    def features(self, cells: Sequence[Any]) -> np.ndarray:
        """(rows, features) float64; the last feature is 1 where the cell is missing, the others are then 0."""
        parts = _PARTS[self.type](cells, self.mean, self.scale)
        gap = np.isnan(parts).any(axis=1)
        return np.column_stack([np.where(gap[:, None], 0.0, parts), gap])


@dataclass
class TableCodec:
    """From cells to what a table encoder reads; fitted on training rows only, saved with the model.

    Features of numbers, times and places come in order of columns; those of one column are, for

    - number: standardised value, missing flag
    - time: hour of day, weekday and day of year as sine and cosine each; standardised time; missing flag
    - place: x, y, z on the unit sphere; missing flag
    """

    columns: list[Column]

    @classmethod
    def fit(cls, columns: Mapping[str, tuple[str, Iterable[Any]]]) -> TableCodec:
        """Learn from training cells: column: (type, cells). Cells may be an Arrow column, an array or any iterable;
        they are read once, in order, a bounded stretch at a time.

        Raises:
            DataError: a type is none of number, category, time and place.
        """
        return cls([_fit(name, type_, cells) for name, (type_, cells) in columns.items()])

    def transform(self, row: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """One row, column: cell -> {"numbers": (n,) float32, "categories": (c,) int64}; absent cells are missing."""
        batch = self.transform_batch({column.name: [row.get(column.name)] for column in self.columns})
        return {name: values[0] for name, values in batch.items()}

    def transform_batch(self, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Many rows, column: cells -> {"numbers": (rows, n) float32, "categories": (rows, c) int64}."""
        cells = {name: _listed(values) for name, values in columns.items()}
        rows = max(map(len, cells.values()), default=0)
        numbers, ids = [np.zeros((rows, 0))], [np.zeros((rows, 0), dtype=np.int64)]
        for column in self.columns:
            here = cells.get(column.name, [None] * rows)
            if column.type == "category":
                ids.append(column.ids(here)[:, None])
            else:
                numbers.append(column.features(here))
        return {"numbers": np.hstack(numbers).astype(np.float32), "categories": np.hstack(ids)}

    def sizes(self) -> dict[str, Any]:
        """{"numbers": count of features, "categories": [ids of each category column, missing and unseen included]}."""
        return {
            "numbers": len(self.names()),
            "categories": [UNSEEN + 1 + len(column.values) for column in self.columns if column.type == "category"],
        }

    def names(self) -> list[str]:
        """A name for each feature of ``numbers``, in order: ``age``, ``age missing``, ``when weekday sin``, …"""
        return [
            f"{column.name} {part}".strip()
            for column in self.columns
            if column.type != "category"
            for part in (*_NAMES[column.type], "missing")
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_dict`` reads them back."""
        told = []
        for column in self.columns:
            one: dict[str, Any] = {"name": column.name, "type": column.type}
            if column.type == "category":
                one["values"] = list(column.values)
            elif column.type != "place":
                one |= {"mean": column.mean, "scale": column.scale}
            told.append(one)
        return {"columns": told}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> TableCodec:
        """Raises DataError where ``raw`` is no codec."""
        try:
            columns = [Column(**one) for one in raw["columns"]]
        except (KeyError, TypeError) as error:
            raise DataError(f"the table codec cannot be read ({error})", mend="rerun sensorium fit") from None
        for column in columns:
            if column.type not in TYPES or not math.isfinite(column.mean) or not 0 < column.scale < math.inf:
                raise DataError(f"the table codec of column {column.name} is damaged", mend="rerun sensorium fit")
        return cls(columns)


# -- fitting ---------------------------------------------------------------------------------------


def _fit(name: str, type_: str, cells: Iterable[Any]) -> Column:
    if type_ not in TYPES:
        raise DataError(f"a table codec has no type {type_}", where=f"column {name}", mend=f"one of {', '.join(TYPES)}")
    if type_ == "category":
        return Column(name, type_, values=_frequent(cells))
    if type_ == "place":
        return Column(name, type_)
    mean, scale = _moments(_seconds(batch) if type_ == "time" else _numbers(batch) for batch in _batches(cells))
    return Column(name, type_, mean, scale)


def _moments(batches: Iterable[np.ndarray]) -> tuple[float, float]:
    """Mean and standard deviation (of the population) of all finite values, merged batch by batch (Chan et al. 1979)."""
    count, mean, squares = 0, 0.0, 0.0
    for batch in batches:
        values = batch[~np.isnan(batch)]
        if not len(values):
            continue
        here = float(values.mean())
        step, both = here - mean, count + len(values)
        squares += float(np.square(values - here).sum()) + step * step * count * len(values) / both
        mean += step * len(values) / both
        count = both
    scale = math.sqrt(squares / count) if count else 0.0
    # Below rounding error of the mean it is no spread at all: a constant column stays zero.
    return mean, scale if math.isfinite(scale) and scale > 1e-12 * abs(mean) and scale > 0 else 1.0


def _frequent(cells: Iterable[Any]) -> list[str]:
    """At most ``MOST_VALUES`` values, sorted; memory is bounded by dropping the rarest along the way (Manku 2002)."""
    counts: dict[str, int] = {}
    for batch in _batches(cells):
        for cell in map(to_category, batch):
            if cell is not None:
                counts[cell] = counts.get(cell, 0) + 1
        if len(counts) > 16 * MOST_VALUES:
            kept = sorted(counts, key=lambda value: (-counts[value], value))[: 8 * MOST_VALUES]
            counts = {value: counts[value] for value in kept}
    return sorted(sorted(counts, key=lambda value: (-counts[value], value))[:MOST_VALUES])


def _batches(cells: Any) -> Iterator[Sequence[Any]]:
    """Any column (Arrow, array, iterable) as lists of at most 8,192 cells."""
    if hasattr(cells, "chunks") and not callable(cells.chunks):  # pyarrow.ChunkedArray
        for chunk in cells.chunks:
            yield from _batches(chunk)
    elif hasattr(cells, "to_pylist") or isinstance(cells, np.ndarray | list | tuple):
        for start in range(0, len(cells), _BATCH):
            yield _listed(cells[start : start + _BATCH])
    else:
        batch: list[Any] = []
        for cell in cells:
            batch.append(cell)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        yield batch


def _listed(cells: Any) -> Sequence[Any]:
    listed: Any = cells.to_pylist() if hasattr(cells, "to_pylist") else cells
    return listed if isinstance(listed, list | tuple | np.ndarray) else list(listed)  # type: ignore[return-value]


# -- cells -----------------------------------------------------------------------------------------


def to_category(cell: Any) -> str | None:
    """A cell as a category's value: trimmed text, whole floats without their point; None where missing."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return str(cell).strip() or None


def _numbers(cells: Sequence[Any]) -> np.ndarray:
    """(rows,) float64; NaN where a cell is no finite number."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iuf":
        values = cells.astype(np.float64)
    else:
        values = np.array([_number(cell) for cell in cells], dtype=np.float64)
    return np.clip(np.where(np.isfinite(values), values, np.nan), -_HUGE, _HUGE)


def _number(cell: Any) -> float:
    try:
        return math.nan if cell is None else float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def to_datetime(cell: Any) -> datetime | None:
    """A datetime without zone, in UTC, from a datetime, date, NumPy time or ISO text; None for what is none."""
    if isinstance(cell, str):
        try:
            cell = datetime.fromisoformat(cell.strip())
        except ValueError:
            return None
    if isinstance(cell, np.datetime64):
        cell = cell.astype("datetime64[us]").item()
    if isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime(cell.year, cell.month, cell.day)
    if not isinstance(cell, datetime):
        return None
    try:
        return cell.astimezone(UTC).replace(tzinfo=None) if cell.tzinfo else cell
    except OverflowError:
        return None


_EPOCH = datetime(1970, 1, 1)


def _seconds(cells: Sequence[Any]) -> np.ndarray:
    """(rows,) float64 seconds since 1970; NaN where a cell is no time."""
    told = (to_datetime(cell) for cell in cells)
    return np.array([math.nan if time is None else (time - _EPOCH).total_seconds() for time in told], dtype=np.float64)


def _number_parts(cells: Sequence[Any], mean: float, scale: float) -> np.ndarray:
    return np.clip((_numbers(cells) - mean) / scale, -CLIP, CLIP)[:, None]


def _time_parts(cells: Sequence[Any], mean: float, scale: float) -> np.ndarray:
    """(rows, 7): three circles, each closed without a jump, and the standardised time."""
    turns = np.full((len(cells), 3), np.nan)
    for row, time in enumerate(map(to_datetime, cells)):
        if time is not None:
            day = (time - time.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds() / 86_400
            year = datetime(time.year, 1, 1)
            days = 366 if time.year % 4 == 0 and (time.year % 100 != 0 or time.year % 400 == 0) else 365
            turns[row] = day, (time.weekday() + day) / 7, (time - year).total_seconds() / 86_400 / days
    circles = np.stack([np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)], axis=2).reshape(len(cells), 6)
    return np.column_stack([circles, np.clip((_seconds(cells) - mean) / scale, -CLIP, CLIP)])


def _place_parts(cells: Sequence[Any], mean: float, scale: float) -> np.ndarray:
    """(rows, 3): (latitude, longitude) in degrees as a point of the unit sphere; NaN off the globe."""
    degrees = np.array([_place(cell) for cell in cells], dtype=np.float64).reshape(len(cells), 2)
    inside = (np.abs(degrees[:, 0]) <= 90) & (np.abs(degrees[:, 1]) <= 180)
    latitude, longitude = np.radians(np.where(inside[:, None], degrees, np.nan)).T
    flat = np.cos(latitude)
    return np.column_stack([flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)])


def _place(cell: Any) -> tuple[float, float]:
    if isinstance(cell, str):
        cell = cell.strip(" ()[]").replace(";", ",").split(",")
    if not isinstance(cell, tuple | list | np.ndarray) or len(cell) != 2:
        return math.nan, math.nan
    return _number(cell[0]), _number(cell[1])


_PARTS: dict[str, Callable[[Sequence[Any], float, float], np.ndarray]] = {
    "number": _number_parts,
    "time": _time_parts,
    "place": _place_parts,
}
_NAMES = {
    "number": ("",),
    "time": ("hour sin", "hour cos", "weekday sin", "weekday cos", "day of year sin", "day of year cos", "time"),
    "place": ("x", "y", "z"),
}
