"""Lists of many users to Parquet, a bounded stretch of users at a time: of all of a run, or of those in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sensorium import assets
from sensorium.data.interactions.checks import id_text
from sensorium.data.sources import open_source
from sensorium.errors import DataError
from sensorium.jobs.ranking.recommendations import check_wishes, notes_of
from sensorium.jobs.recommend import USERS_TOGETHER, OpenedRecommender
from sensorium.recipe import DataRecipe
from sensorium.run import written_beside
from sensorium.training.progress import make_progress

LISTED = [
    ("user", pa.string()),
    ("rank", pa.int32()),
    ("item", pa.string()),
    ("title", pa.string()),
    ("score", pa.float32()),
]
ASKED = [("row", pa.int64()), *LISTED, ("note", pa.string())]


def write_lists(opened: OpenedRecommender, out: str | Path, top: int = 10, progress: Any = None) -> int:
    """Lists of all known users: user, rank, item, title, score. Returns how many users there are."""
    names = opened.users["user"].to_pylist()

    def tables(advance: Any) -> Iterator[pa.Table]:
        for start in range(0, len(names), USERS_TOGETHER):
            places = list(range(start, min(start + USERS_TOGETHER, len(names))))
            found, owners = _listed(opened, places, top)
            columns = {"user": [names[start + owner] for owner in owners], **found}
            yield pa.table({name: columns[name] for name, _ in LISTED}, schema=pa.schema(LISTED))
            advance(len(places))

    _write(out, LISTED, tables, len(names), progress, top)
    return len(names)


def predict_lists(opened: OpenedRecommender, data: str, out: str | Path, top: int = 10, progress: Any = None) -> int:
    """Lists of the users of a file, one a row of it: row, user, rank, item, title, score, note. Returns the rows.

    ``note`` says where a user is unknown or missing, who then gets what any visitor gets. A row for which nothing is left
    to recommend has one line without an item.

    Raises:
        DataError: the file has no column of users.
    """
    source = open_source(DataRecipe(source=data), assets.cache_root() / "tables")
    column = source.table[opened.user_column(source)]

    def tables(advance: Any) -> Iterator[pa.Table]:
        for start in range(0, len(source), USERS_TOGETHER):
            told = column.slice(start, USERS_TOGETHER).to_pylist()
            users = [opened.place_of_user.get(id_text(cell) or "", -1) for cell in told]
            notes = ["; ".join(notes_of(cell, user)) or None for cell, user in zip(told, users, strict=True)]
            found, owners = _listed(opened, users, top)
            missing = sorted(set(range(len(told))) - set(owners))
            for row in missing:
                notes[row] = "; ".join(filter(None, [notes[row], "nothing is left to recommend"]))
            columns = {name: cells + [None] * len(missing) for name, cells in found.items()}
            rows = owners + missing
            columns["row"] = [start + row for row in rows]
            columns["user"] = [id_text(told[row]) for row in rows]
            columns["note"] = [notes[row] for row in rows]
            table = pa.table({name: columns[name] for name, _ in ASKED}, schema=pa.schema(ASKED))
            yield table.sort_by([("row", "ascending"), ("rank", "ascending")]) if missing else table
            advance(len(told))

    _write(out, ASKED, tables, len(source), progress, top)
    return len(source)


def _listed(opened: OpenedRecommender, users: list[int], top: int) -> tuple[dict[str, list[Any]], list[int]]:
    """Columns rank, item, title and score of users' lists under each other, and whose each line is."""
    places, scores = opened.first(opened.history_of(users), top)
    left = torch.isfinite(scores)
    flat = places[left].tolist()
    found = {
        "rank": torch.arange(1, places.shape[1] + 1).expand_as(places)[left].tolist(),
        "item": [opened.names[place] for place in flat],
        "title": [opened.titles[place] for place in flat],
        "score": scores[left].tolist(),
    }
    return found, left.nonzero()[:, 0].tolist()


def _write(out: str | Path, columns: list[Any], tables: Any, total: int, progress: Any, top: int) -> None:
    check_wishes(top)
    if Path(out).suffix.lower() != ".parquet":
        raise DataError("lists are written as Parquet", where=f"--out {out}", mend="end its name in .parquet")
    progress = progress or make_progress()
    with (
        written_beside(out) as temporary,
        pq.ParquetWriter(temporary, pa.schema(columns)) as file,
        progress.task("recommending", total, unit="rows") as advance,
    ):
        for table in tables(advance):
            file.write_table(table)
