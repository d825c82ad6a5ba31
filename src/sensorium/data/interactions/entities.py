"""Items and users: the ids that interactions name, joined with the rows of the table that describes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from sensorium.data.inference import tell
from sensorium.data.interactions.arrays import Entities
from sensorium.data.interactions.checks import InteractionReport, read_ids
from sensorium.data.media import read_media
from sensorium.data.readers.chunks import MEDIA
from sensorium.data.rows import CONVERT
from sensorium.data.schema import check_type, require
from sensorium.data.tables import Source
from sensorium.errors import MediaError
from sensorium.recipe import ColumnType


@dataclass
class EntityCells(Sequence[Any]):
    """One column's cells by entity, read from the mapped table when asked for; None where an entity has no row."""

    column: pa.ChunkedArray
    rows: np.ndarray  # (entities,) row of each, -1 where it has none
    convert: Callable[[Any], Any]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        row = int(self.rows[place])
        return None if row < 0 else self.convert(self.column[row].as_py())


def join_entities(
    seen: Sequence[str],
    source: Source | None,
    key: str,
    inputs: dict[str, ColumnType] | None,
    noun: str,
    report: InteractionReport,
) -> Entities:
    """The rows of ``source`` in its order, first of each id, then ids of ``seen`` that have no row.

    Args:
        key: the column of ids; inputs: column: type, inferred from the cells where None.
        noun: item or user, for the report, in which duplicates and missing rows are noted.

    Raises:
        DataError: a column is not there (the near one is named), or cannot have the type.
    """
    if source is None:
        return Entities(list(seen), has_row=np.zeros(len(seen), dtype=bool))
    where = f"data.interactions.{noun}s"
    require(key, source.table.column_names, f"{where}.key, {source.name}")
    codes, names, otherwise = read_ids(source.table.column(key))
    report.add("ids_of_mixed_type", otherwise, '{n} ids are written in several ways (1, 1.0, "1"): read as one')
    given = np.flatnonzero(codes >= 0)
    report.add(
        f"{noun}_rows_without_id", len(codes) - len(given), f"{{n}} rows of the {noun} table have no id: left out"
    )
    first = given[np.unique(codes[given], return_index=True)[1]]  # codes count first appearances: so names' order
    report.add(
        f"duplicate_{noun}_rows",
        len(given) - len(first),
        f"{{n}} rows of the {noun} table repeat an id: the first stays",
    )
    have = set(names)
    others = [name for name in seen if name not in have]
    report.add(
        f"{noun}s_without_row", len(others), f"{{n}} {noun}s have no row in the {noun} table: kept, without attributes"
    )
    asked = set(seen)
    alone = sum(name not in asked for name in names)
    kept = "kept: cold items" if noun == "item" else "kept"
    report.add(f"{noun}s_untouched", alone, f"{{n}} {noun}s of the {noun} table are in no interaction: {kept}")
    rows = np.concatenate([first, np.full(len(others), -1, dtype=np.int64)])
    types = _types(source, key, inputs, where)
    cells: dict[str, Sequence[Any]] = {}
    for name, kind in types.items():
        lazy = EntityCells(source.table.column(name), rows, CONVERT[kind])
        # pictures and sounds that lie in the table stay in its file; other cells are small
        cells[name] = lazy if lazy.column.type == MEDIA else _in_memory(lazy)
        if kind in ("image", "audio"):
            cells[name] = _readable(cells[name], source.root, noun, report)
    return Entities([*names, *others], types, cells, rows >= 0, source.root)


def keep_entities(entities: Entities, kept: np.ndarray) -> Entities:
    """Those at the indices ``kept``, in that order."""
    cells: dict[str, Sequence[Any]] = {
        name: EntityCells(one.column, one.rows[kept], one.convert)
        if isinstance(one, EntityCells)
        else [one[i] for i in kept.tolist()]
        for name, one in entities.cells.items()
    }
    names = [entities.names[i] for i in kept.tolist()]
    return Entities(names, entities.inputs, cells, entities.has_row[kept], entities.root)


def _types(source: Source, key: str, inputs: dict[str, ColumnType] | None, where: str) -> dict[str, str]:
    columns = source.table.column_names
    if inputs is None:
        told = {name: tell(name, source.table.column(name)).type for name in columns if name != key}
        return {name: kind for name, kind in told.items() if kind is not None}
    for name, kind in inputs.items():
        require(name, columns, f"{where}.inputs, {source.name}")
        check_type(source.table.column(name), kind, f"{where}.inputs.{name}")
    return {name: str(inputs[name]) for name in columns if name in inputs}


def _in_memory(cells: EntityCells) -> list[Any]:
    values = cells.column.take(pa.array(np.maximum(cells.rows, 0))).to_pylist()
    return [cells.convert(value) if row >= 0 else None for value, row in zip(values, cells.rows.tolist(), strict=True)]


def _readable(cells: Sequence[Any], root: Path | None, noun: str, report: InteractionReport) -> Sequence[Any]:
    """The cells, None in place of paths of files that cannot be read; bytes in the table are there already."""
    if isinstance(cells, EntityCells):
        return cells
    kept, first = list(cells), ""
    for place, cell in enumerate(cells):
        try:
            if cell is not None:
                read_media(cell, root)
        except MediaError as error:
            kept[place], first = None, first or str(error)
    lost = sum(cell is not None for cell in cells) - sum(cell is not None for cell in kept)
    first = first.replace("{", "(").replace("}", ")")
    line = f"{{n}} pictures or sounds of {noun}s cannot be read: taken as missing (the first: {first})"
    report.add(f"{noun}_media_unreadable", lost, line)
    return kept
