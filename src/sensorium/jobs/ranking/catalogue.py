"""What answering needs of the data, beside the model: items by name and title, and what is known of each user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sensorium.data.interactions.arrays import Interactions
from sensorium.data.interactions.splits import all_histories

ITEMS, USERS = "catalogue.parquet", "users.parquet"
ID, FIRST_SEEN = "id (of the item)", "first seen (seconds since 1970)"  # of the items; an attribute may be called item
KEPT = 4096  # latest interactions of a user


def save_catalogue(folder: str | Path, inter: Interactions, rows: np.ndarray) -> None:
    """Write ``catalogue.parquet`` and ``users.parquet`` into a model's folder.

    Args:
        rows: the interactions that are known when answering.
    """
    folder = Path(folder)
    items = {name: _plain(inter.items.cells[name]) for name, kind in inter.items.inputs.items() if kind in PLAIN}
    first = np.full(len(inter.items), np.inf)
    np.minimum.at(first, inter.item[rows], inter.time[rows])
    seen = pa.array(first, pa.float64(), mask=np.isinf(first))  # null: nobody has touched it
    pq.write_table(pa.table({**items, ID: inter.items.names, FIRST_SEEN: seen}), folder / ITEMS)
    known = all_histories(inter, rows, np.arange(len(inter.users)), KEPT)
    there = known.items >= 0
    columns = {
        "user": inter.users.names,
        "items": [row[mask].tolist() for row, mask in zip(known.items, there, strict=True)],
        "gaps": [row[mask].tolist() for row, mask in zip(known.gaps, there, strict=True)],
        "ratings": [row[mask].tolist() for row, mask in zip(known.ratings, there, strict=True)],
    }
    if known.reviews is not None:
        columns["reviews"] = [row[mask].tolist() for row, mask in zip(known.reviews, there, strict=True)]
    users = {name: _plain(inter.users.cells[name]) for name, kind in inter.users.inputs.items() if kind in PLAIN}
    pq.write_table(pa.table({**columns, **{f"of {name}": cells for name, cells in users.items()}}), folder / USERS)


PLAIN = ("text", "number", "category")


def _plain(cells: object) -> pa.Array:
    return pa.array([None if cell is None else str(cell) for cell in cells])  # type: ignore[attr-defined]
