"""The catalogue and the known users beside a model: all that answering needs once the data are gone."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sensorium.data.interactions import Entities, Interactions
from sensorium.data.rows import CONVERT
from sensorium.errors import RunError

ITEMS, USERS = "catalogue.parquet", "users.parquet"
_META = b"sensorium"
_CELL = "cell:"  # a column of the data may itself be called ``name``
_MEDIA = ("image", "audio")


@dataclass
class Catalogue:
    """What is known when answers are given.

    Attributes:
        known: items, users and the interactions that histories may hold, sorted by (user, time, the file's order).
        titles: (items) what each item is called; its id where it has no title.
        first_seen: (items,) float64, seconds since 1970 of its first interaction; NaN where nobody touched it.
        start: (users + 1,) int64: the interactions of user u are ``start[u]:start[u + 1]``.
    """

    known: Interactions
    titles: list[str]
    first_seen: np.ndarray = field(default_factory=lambda: np.zeros(0))
    start: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))


def save_catalogue(folder: str | Path, inter: Interactions, rows: np.ndarray) -> None:
    """Write ``catalogue.parquet`` and ``users.parquet`` into a model's folder that is still being made.

    Args:
        folder: it is renamed into place by whoever makes it, so nothing here is atomic by itself.
        rows: indices of the interactions that histories may hold when answers are given. Pictures and sounds are
            left out: the model keeps what it read of them.
    """
    folder = Path(folder)
    rows = np.asarray(rows, dtype=np.int64)
    rows = rows[np.lexsort((rows, inter.time[rows], inter.user[rows]))]
    first_seen = np.full(len(inter.items), np.inf)
    np.minimum.at(first_seen, inter.item[rows], inter.time[rows])
    first_seen[np.isinf(first_seen)] = np.nan
    items = _table(inter.items, {"first_seen": pa.array(first_seen)}, {"title": title_column(inter.items)})
    start = np.searchsorted(inter.user[rows], np.arange(len(inter.users) + 1))
    users = _table(inter.users, {
        name: pa.LargeListArray.from_arrays(pa.array(start), pa.array(values[rows]))
        for name, values in (("items", inter.item), ("times", inter.time), ("ratings", inter.rating))
    })  # fmt: skip
    pq.write_table(items, folder / ITEMS)
    pq.write_table(users, folder / USERS)


def open_catalogue(folder: str | Path) -> Catalogue:
    """What ``save_catalogue`` wrote. Raises RunError where a file is missing or damaged."""
    folder = Path(folder)
    items, users = _read(folder / ITEMS), _read(folder / USERS)
    try:
        histories = {name: users.column(name).combine_chunks() for name in ("items", "times", "ratings")}
        start = histories["items"].offsets.to_numpy().astype(np.int64)
        flat = {name: array.flatten().to_numpy(zero_copy_only=False) for name, array in histories.items()}
        catalogue, about = _entities(items)
        people, _ = _entities(users)
        known = Interactions(
            users=people, items=catalogue, user=np.repeat(np.arange(len(people)), np.diff(start)),
            item=flat["items"].astype(np.int64), time=flat["times"].astype(np.float64),
            rating=flat["ratings"].astype(np.float32),
        )  # fmt: skip
        first_seen = items.column("first_seen").to_numpy()
    except (KeyError, ValueError, TypeError, AttributeError, pa.ArrowInvalid) as error:
        raise RunError("the catalogue is damaged", where=str(folder), mend="copy the run again") from error
    title = catalogue.cells.get(about.get("title") or "", [None] * len(catalogue))
    titles = [str(cell) if cell else name for cell, name in zip(title, catalogue.names)]
    return Catalogue(known, titles, first_seen, start)


def title_column(items: Entities) -> str | None:
    """The column that items are called by: one named title or name, else the first of text; None where there is none."""
    texts = [name for name, kind in items.inputs.items() if kind == "text"]
    words = [name for name, kind in items.inputs.items() if kind in ("text", "category")]
    for wanted in ("title", "name"):
        for name in words:
            if wanted in re.split(r"[^a-z]+", name.lower()):
                return name
    return texts[0] if texts else None


# -- one table -------------------------------------------------------------------------------------


def _table(entities: Entities, more: dict[str, Any], about: dict[str, Any] | None = None) -> pa.Table:
    inputs = {name: kind for name, kind in entities.inputs.items() if kind not in _MEDIA and name in entities.cells}
    has_row = entities.has_row if len(entities.has_row) else np.zeros(len(entities), dtype=bool)
    columns: dict[str, Any] = {
        "name": pa.array(entities.names, pa.large_string()),
        "has_row": pa.array(has_row),
        **more,
    }
    columns |= {_CELL + name: _arrow(entities.cells[name], kind) for name, kind in inputs.items()}
    told = json.dumps({"inputs": inputs, **(about or {})}).encode()
    return pa.table(columns).replace_schema_metadata({_META: told})


def _arrow(cells: Sequence[Any], kind: str) -> pa.Array:
    if kind == "number":
        return pa.array(cells, pa.float64())
    if kind == "time":
        return pa.array(cells, pa.timestamp("us"))
    if kind == "place":
        return pa.array([None if cell is None else list(cell) for cell in cells], pa.list_(pa.float64()))
    return pa.array([None if cell is None else str(cell) for cell in cells], pa.large_string())


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise RunError(f"{path.name} is missing", where=str(path.parent), mend="copy the run again") from None
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path.name} is damaged", where=str(path.parent), mend="copy the run again") from error


def _entities(table: pa.Table) -> tuple[Entities, dict[str, Any]]:
    about = json.loads(table.schema.metadata[_META])
    cells = {}
    for name, kind in about["inputs"].items():
        values = table.column(_CELL + name).to_pylist()
        # the types that cells have everywhere else; a place comes back as a list
        cells[name] = [None if v is None else tuple(v) for v in values] if kind == "place" else [
            CONVERT[kind](v) for v in values
        ]  # fmt: skip
    names = table.column("name").to_pylist()
    return Entities(names, about["inputs"], cells, table.column("has_row").to_numpy()), about
