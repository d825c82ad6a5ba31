"""A table and where its rows came from; converted files are kept in a cache, by content, and memory-mapped."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock

from sensorium.data.readers import csv as readers_csv
from sensorium.data.readers.chunks import Chunk, Tally, canonical, convert, from_values
from sensorium.errors import DataError
from sensorium.run import replace_folder, sha256_text, write_json

VERSION = 1  # of the converted tables; another number makes old cache entries invisible
SPLITTERS = ("imagefolder", "audiofolder", "parallel", "datasets")  # kinds whose column split is the data's own


@dataclass
class Places:
    """Where each row of a table stands in its files.

    ``names[k]`` is file k, ``rows[k]`` how many of its rows are in the table, ``skipped[k]`` the numbers (from 0)
    of those that are not. ``paths`` names the column whose cell is itself the place (folders of media).
    """

    names: list[str]
    rows: list[int]
    skipped: list[list[tuple[int, str]]]
    unit: str = "row"
    paths: str | None = None

    def __call__(self, row: int) -> tuple[str, int]:
        """File name and number, from 1, in that file."""
        ends = np.cumsum(self.rows)
        if not 0 <= row < (ends[-1] if len(ends) else 0):
            raise IndexError(f"row {row} of {ends[-1] if len(ends) else 0}")
        file = int(np.searchsorted(ends, row, side="right"))
        local = row - int(ends[file] - self.rows[file])
        skipped = np.array(sorted(number for number, _ in self.skipped[file]), dtype=np.int64)
        return self.names[file], int(readers_csv.place_among(np.array([local]), skipped)[0]) + 1

    def malformed(self) -> list[tuple[str, str]]:
        """(place, reason) of every skipped row but blank ones."""
        return [
            (f"{name} {self.unit} {number + 1}", reason)
            for name, skipped in zip(self.names, self.skipped, strict=True)
            for number, reason in sorted(skipped)
            if reason
        ]


@dataclass
class Source:
    """A table and where it came from. Pickles as the path of its Arrow file, never as its rows.

    ``defaults`` holds what the format or the bundled data set knows of its columns: ``inputs``, ``target``,
    ``group_by``, ``split`` (a column) and ``messages`` (a column of chats).
    """

    table: pa.Table
    root: Path | None
    name: str
    fingerprint: str
    places: Places
    path: Path | None = None
    malformed: list[tuple[str, str]] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def place(self, row: int) -> str:
        """Where row ``row`` (from 0) stands, for messages: ``t.csv row 17``, ``cats/3.png``."""
        name, number = self.places(row)
        if self.places.paths:
            return f"{self.table.column(self.places.paths)[row].as_py()}"
        return f"{name} {self.places.unit} {number}"

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self.path is not None:
            state["table"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.path is not None:
            self.table = map_table(self.path)


def map_table(path: Path) -> pa.Table:
    """An Arrow IPC file as a table whose buffers are the file's pages, not memory of ours."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


# -- the cache of converted tables -----------------------------------------------------------------


def build(
    read: Callable[[], Iterator[Chunk]],
    name: str,
    fingerprint: str,
    cache: Path,
    *,
    names: list[str],
    kind: str,
    unit: str = "row",
    defaults: dict[str, Any] | None = None,
    root: Path | None = None,
) -> Source:
    """The source whose chunks ``read`` yields, from the cache where its content was converted before.

    Raises:
        DataError: there are no rows.
    """
    folder = Path(cache) / f"{kind}-{sha256_text(f'{VERSION} {kind} {fingerprint}')[:32]}"
    tally = _cached(folder) or _convert_once(folder, read, name, names, numbers_in_text=kind == "csv")
    places = Places(names, tally.rows, tally.skipped, unit)
    path = (folder / "table.arrow").absolute()
    table = map_table(path)
    known = dict(defaults or {})
    if kind in SPLITTERS and "split" in table.column_names:
        known["split"] = "split"
    return Source(table, root, name, fingerprint, places, path, places.malformed(), known)


def _cached(folder: Path) -> Tally | None:
    try:
        raw = json.loads((folder / "tally.json").read_text())
        tally = Tally(raw["rows"], [[(int(n), str(reason)) for n, reason in part] for part in raw["skipped"]])
        return tally if map_table(folder / "table.arrow").num_rows == sum(tally.rows) else None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _convert_once(
    folder: Path, read: Callable[[], Iterator[Chunk]], name: str, names: list[str], numbers_in_text: bool
) -> Tally:
    """Convert into ``folder`` while other processes that want the same wait; whoever comes second finds it there."""
    cache = folder.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{folder.name}.lock"):
            if (tally := _cached(folder)) is not None:
                return tally
            _sweep(cache)
            temporary = Path(tempfile.mkdtemp(dir=cache, prefix=".converting-"))
            try:
                tally = _convert(temporary, read, name, names, numbers_in_text)
                replace_folder(temporary, folder)
                return tally
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        cause = os.strerror(error.errno) if isinstance(error.errno, int) else str(error)
        mend = "free space there and make it writable, or put the cache elsewhere"
        raise DataError(f"the cache cannot be written ({cause})", where=str(cache), mend=mend) from None


def _convert(
    folder: Path, read: Callable[[], Iterator[Chunk]], name: str, names: list[str], numbers_in_text: bool
) -> Tally:
    tally = convert(read, folder / "table.arrow", names, numbers_in_text=numbers_in_text)
    if not sum(tally.rows) or not map_table(folder / "table.arrow").num_columns:
        what = "there are no rows" if not sum(tally.rows) else "there are no columns"
        raise DataError(what, where=name, mend="give a file with rows")
    write_json(folder / "tally.json", {"rows": tally.rows, "skipped": tally.skipped})
    pa.default_memory_pool().release_unused()
    return tally


def _sweep(cache: Path) -> None:
    """Remove what a killed conversion left more than a day ago."""
    for left in cache.glob(".converting-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)


# -- rows in memory --------------------------------------------------------------------------------


def from_rows(rows: Any, root: Path | None = None, name: str = "rows") -> Source:
    """A source in memory from a list of dicts, a pandas DataFrame or an Arrow table (for ``model.predict``).

    Media cells are paths under ``root``, ``data:`` addresses, bytes, or {"bytes", "path"}.

    Raises:
        DataError: it is none of these, or has no rows.
    """
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    elif hasattr(rows, "to_dict") and hasattr(rows, "columns") and not isinstance(rows, pa.Table):
        rows = pa.Table.from_pandas(rows, preserve_index=False)
    if isinstance(rows, pa.Table):
        columns = {key: canonical(rows.column(key), key) for key in rows.column_names}
    elif isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        keys = dict.fromkeys(str(key) for row in rows for key in row)
        columns = {key: _values([row.get(key) for row in rows], key) for key in keys}
    else:
        raise DataError(
            f"rows are a {type(rows).__name__}", where=name, mend="give a list of dicts, a DataFrame or an Arrow table"
        )
    table = pa.table(columns)
    if not table.num_rows:
        raise DataError("there are no rows", where=name, mend="give at least one row")
    return Source(table, root, name, sha256_text(f"{name} {id(table)}"), Places([name], [table.num_rows], [[]]))


def _values(values: list[Any], name: str) -> pa.Array:
    values = [
        str(value) if isinstance(value, Path) else value.item() if isinstance(value, np.generic) else value
        for value in values
    ]
    plain = (str, int, float, bool, list)
    if all(value is None or isinstance(value, plain) for value in values):
        return from_values(values)
    try:
        if any(isinstance(value, bytes) for value in values):
            values = [
                {"bytes": v} if isinstance(v, bytes) else {"path": v} if isinstance(v, str) else v for v in values
            ]
        return canonical(pa.array(values), name)
    except (pa.ArrowException, TypeError) as error:
        raise DataError(
            f"values of different types ({str(error)[:80]})", where=f"column {name}", mend="give one type a column"
        ) from None
