"""From a recipe to data that are ready: opened, typed, checked, split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensorium import assets
from sensorium.data.checks.check import DataReport, check, check_splits
from sensorium.data.media import read_media
from sensorium.data.rows import Rows
from sensorium.data.schema import Schema, given_split, infer_schema, require
from sensorium.data.sources import Source, open_source
from sensorium.data.splits import Splits, split
from sensorium.data.text.parallel_examples import DIRECTION, directed
from sensorium.errors import DataError
from sensorium.recipe import Recipe
from sensorium.run import sha256_text

PARTS = ("train", "validation", "test")


@dataclass
class Prepared:
    """Data of a job.

    Attributes:
        rows: every row of the table, by its own number; splits say which are used for what.
        read_media: from a cell's reference to bytes, under the data's root only.
    """

    source: Source
    schema: Schema
    report: DataReport
    splits: Splits
    rows: Rows
    read_media: Callable[[Any], bytes]

    def cells(self, column: str, rows: np.ndarray) -> list[Any]:
        """A column's cells of ``rows``, as in examples."""
        return self.rows.take(np.asarray(rows, dtype=np.int64)).column(column)

    def chunks(self, column: str, rows: np.ndarray, size: int = 10_000) -> Iterator[Any]:
        """A column's cells of ``rows``, a bounded stretch at a time."""
        for start in range(0, len(rows), size):
            yield from self.rows.take(rows[start : start + size]).column(column)

    def characters(self, column: str) -> np.ndarray:
        """Characters of each cell of a text column (rows,), 0 where it is missing."""
        cells = self.source.table.column(column)
        text = (
            cells
            if pa.types.is_large_string(cells.type) or pa.types.is_string(cells.type)
            else pc.cast(cells, pa.string())
        )
        return np.asarray(pc.fill_null(pc.utf8_length(text), 0)).astype(np.int32)

    def content(self, name: str, row: int) -> str:
        """A hash of what stands in a cell: of the file's bytes for media, of the text else."""
        hashes = self.report.hashes.get(name)
        if hashes is not None and hashes[row] is not None:
            return str(hashes[row])
        return sha256_text(repr(self.rows[row].inputs.get(name)))


def open_data(recipe: Recipe) -> tuple[Source, Schema]:
    """The table and its schema, before any check of its rows."""
    source = open_source(recipe.data, assets.cache_root() / "tables")
    if recipe.translation is not None:
        source = directed(source, recipe.data, recipe.translation, assets.cache_root() / "tables")
    schema = infer_schema(source, recipe.data, recipe.task)
    if recipe.translation is not None:
        schema.by.append(DIRECTION)
    return source, schema


def prepare(recipe: Recipe, progress: Any = None) -> Prepared:
    """Open, check and split the data of ``recipe``.

    Raises:
        DataError: nothing readable is left, or a bad row where ``bad_rows: stop``.
    """
    looked = look(recipe, progress, stop=recipe.data.bad_rows == "stop")
    if len(looked.report.quarantined) == len(looked.source):
        where = looked.source.name
        raise DataError("no usable row is left", where=where, mend="see what sensorium data check says of it")
    return part(recipe, looked)


def unlabelled(source: Source, recipe: Recipe, inputs: dict[str, Any]) -> Schema:
    """The schema of a table without a target, with the inputs named. DataError where a column of the split is not there."""
    columns, defaults, split = source.table.column_names, source.defaults, recipe.data.split
    group = split.group_by or (None if split.column or split.by_time else defaults.get("group_by"))
    parted = split.column or given_split(source, recipe.data)
    for key, column in (("group_by", group), ("column", parted), ("by_time", split.by_time)):
        if column is not None:
            require(column, columns, f"data.split.{key}")
    notes = [(name, "input", kind, "as named") for name, kind in inputs.items()]
    by = [name for name in defaults.get("by", []) if name in columns]
    return Schema(inputs, None, "text", "generate", group=group, split=parted, notes=notes, by=by)


def prepare_unlabelled(recipe: Recipe, source: Source, schema: Schema, progress: Any) -> Prepared:
    """Check and split data without a target.

    Raises:
        DataError: nothing readable is left, or a bad row where ``bad_rows: stop``.
    """
    reader = partial(read_media, root=source.root)
    report = check(source, schema, reader, progress, stop=recipe.data.bad_rows == "stop", need_target=False)
    if len(report.quarantined) == len(source):
        raise DataError("no usable row is left", where=source.name, mend="see what sensorium data check says of it")
    return part(recipe, Looked(source, schema, report, reader))


@dataclass
class Looked:
    """Data that are opened and checked, but not split."""

    source: Source
    schema: Schema
    report: DataReport
    read_media: Callable[[Any], bytes]


def look(recipe: Recipe, progress: Any, *, stop: bool) -> Looked:
    """Open and check the data of ``recipe``; with ``stop``, DataError at the first bad row."""
    source, schema = open_data(recipe)
    reader = partial(read_media, root=source.root)
    return Looked(source, schema, check(source, schema, reader, progress, stop=stop), reader)


def part(recipe: Recipe, looked: Looked) -> Prepared:
    """Split the usable rows, and find duplicates across the parts."""
    source, schema, report = looked.source, looked.schema, looked.report
    keep = np.setdiff1d(
        np.arange(len(source)), np.fromiter(report.quarantined, dtype=np.int64, count=len(report.quarantined))
    )
    if recipe.data.max_rows and len(keep) > recipe.data.max_rows:
        chosen = np.random.default_rng(recipe.data.split.seed).choice(len(keep), recipe.data.max_rows, replace=False)
        keep = keep[np.sort(chosen)]
    spec = recipe.data.split
    splits = split(source, schema, spec, keep)
    report.findings.extend(check_splits(source, schema, splits, report.hashes, report.row_keys))
    return Prepared(source, schema, report, splits, Rows(source, schema, np.arange(len(source))), looked.read_media)


def described(recipe: Recipe, schema: Schema) -> Recipe:
    """The recipe with what was inferred written out. RecipeError where its parts cannot do the task that follows."""
    data = recipe.data.model_copy(update={"inputs": dict(schema.inputs), "target": schema.target})
    whole = recipe.model_copy(update={"data": data, "task": schema.task})
    return Recipe.parse(whole.model_dump(), where=f"task {schema.task}")


def fixed_choice(rows: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of ``rows``, the same ones each time, in order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def without(prepared: Prepared, column: str) -> Prepared:
    """The same data with one input left out."""
    inputs = {name: kind for name, kind in prepared.schema.inputs.items() if name != column}
    schema = replace(prepared.schema, inputs=inputs)
    return replace(prepared, schema=schema, rows=Rows(prepared.source, schema, np.arange(len(prepared.source))))
