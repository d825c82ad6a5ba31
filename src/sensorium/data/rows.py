"""One example at a time from the mapped table, its cells as Python values of their column types."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from sensorium.data.inference import label
from sensorium.data.messages import answer_of, from_openai
from sensorium.data.schema import Schema
from sensorium.data.tables import Source
from sensorium.errors import DataError


@dataclass(frozen=True)
class Example:
    """One row: ``inputs`` by column in the table's order, None where missing.

    text and category: str; number: finite float; time: datetime without zone, in UTC; place: (latitude,
    longitude) in degrees; image and audio: a reference, str path or {"bytes", "path"}. ``target``: str for classes
    and text, float for numbers. Of a chat, ``inputs`` has its ``messages``, a list[Message], beside such cells, and
    ``target`` is its last answer.
    """

    row: int
    inputs: dict[str, Any]
    target: Any


class Rows:
    """The rows ``indices`` of a source as examples; pickles as a path and numbers, so that workers map the file."""

    def __init__(self, source: Source, schema: Schema, indices: np.ndarray | None = None) -> None:
        self.source, self.schema = source, schema
        self.indices: np.ndarray = np.arange(len(source)) if indices is None else np.asarray(indices, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, position: int) -> Example:
        """The example at ``position``, from 0.

        Raises:
            IndexError: there is none.
            DataError: the row's chat messages are not valid.
        """
        row, table, schema = int(self.indices[position]), self.source.table, self.schema
        if schema.messages is not None:
            cell = table.column(schema.messages)[row].as_py()
            messages = from_openai(cell, where=self.source.place(row), answered=False)  # some are to be answered yet
            told = {
                name: CONVERT[type_](table.column(name)[row].as_py())
                for name, type_ in schema.inputs.items()
                if name in table.column_names
            }
            return Example(row, {**told, "messages": messages}, answer_of(messages) or None)
        inputs = {name: CONVERT[type_](table.column(name)[row].as_py()) for name, type_ in schema.inputs.items()}
        return Example(row, inputs, self._target(row))

    def _target(self, row: int) -> Any:
        name = self.schema.target
        if name is None or name not in self.source.table.column_names:
            return None  # rows to predict
        value = self.source.table.column(name)[row].as_py()
        return to_number(value) if self.schema.target_kind == "number" else label(value)

    def take(self, indices: np.ndarray) -> Rows:
        """The rows at these positions of this one."""
        return Rows(self.source, self.schema, self.indices[np.asarray(indices)])

    def column(self, name: str, positions: np.ndarray | None = None) -> list[Any]:
        """One column's cells at ``positions`` (all by default), as in examples, without touching other columns."""
        if name not in self.source.table.column_names:
            mend = "choose one of the table's columns"
            raise DataError(f"there is no column {name}", where=self.source.name, mend=mend)
        column = self.source.table.column(name)
        if name == self.schema.target:
            convert: Callable[[Any], Any] = to_number if self.schema.target_kind == "number" else label
        else:
            convert = CONVERT[self.schema.inputs.get(name, "any")]
        rows = self.indices if positions is None else self.indices[np.asarray(positions)]
        cells: Iterator[Any]
        if len(rows) == len(column) and np.array_equal(rows, np.arange(len(column))):
            cells = (cell for chunk in column.chunks for cell in chunk.to_pylist())
        else:
            cells = (column[int(row)].as_py() for row in rows)
        return [convert(cell) for cell in cells]


# -- cells -----------------------------------------------------------------------------------------


def to_text(value: Any) -> str | None:
    """Text as it is, other values as they print; None where there is nothing but white space."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, dict):
        return None
    if isinstance(value, str):
        return value if value.strip() else None
    return label(value)


def to_number(value: Any) -> float | None:
    """A finite float; None for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def to_time(value: Any) -> datetime | None:
    """A date or time as datetime without zone (converted to UTC where it had one); None for what is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip().replace(",", "."))
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


_PLACE = re.compile(r"[\[(]?\s*([-+]?\d+(?:\.\d+)?)\s*[,;]\s*([-+]?\d+(?:\.\d+)?)\s*[\])]?")


def to_place(value: Any) -> tuple[float, float] | None:
    """(latitude, longitude) in degrees from "52.1, 4.3"; None for what is none or lies off the globe."""
    found = _PLACE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        return None
    latitude, longitude = float(found[1]), float(found[2])
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def to_reference(value: Any) -> str | dict[str, Any] | None:
    """A media cell: a path, or bytes with an optional path; None where it has neither."""
    if isinstance(value, dict):
        return value if value.get("bytes") else (value.get("path") or None)
    return value.strip() or None if isinstance(value, str) else None


CONVERT: dict[str, Callable[[Any], Any]] = {
    "text": to_text,
    "category": label,
    "number": to_number,
    "time": to_time,
    "place": to_place,
    "image": to_reference,
    "audio": to_reference,
    "any": lambda value: value,
}
