"""A table to pretrain from: the texts of its rows, and the pictures or sounds that stand beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from sensorium import assets
from sensorium.data.schema import Schema, require
from sensorium.data.sources import Source, open_source
from sensorium.data.text.stream import PARTS
from sensorium.errors import DataError, RecipeError
from sensorium.jobs.cell_features import cell_features
from sensorium.jobs.parts import resolve
from sensorium.jobs.prepare import Prepared, fixed_choice, prepare_unlabelled, unlabelled
from sensorium.models.language.alignment import FILE as ALIGNMENT
from sensorium.recipe import Recipe

BETWEEN = ". "  # a row's several texts


@dataclass
class MediaTable:
    """Rows with a text, parted.

    Attributes:
        rows: part -> row numbers (n,) of those that hold a text; texts: part -> their texts, in that order.
        column, kind: of the medium (image, audio); None where the recipe names none.
    """

    prepared: Prepared
    rows: dict[str, np.ndarray]
    texts: dict[str, list[str]]
    column: str | None
    kind: str | None


def open_table(recipe: Recipe, progress: Any) -> MediaTable:
    """The recipe's table, checked and parted; its texts are those of all text columns.

    Raises:
        DataError: no column of text, or several of media, or no usable row.
    """
    source = open_source(recipe.data, assets.cache_root() / "tables")
    schema = table_schema(source, recipe)
    prepared = prepare_unlabelled(recipe, source, schema, progress)
    media = [name for name, kind in schema.inputs.items() if kind in ("image", "audio")]
    rows: dict[str, np.ndarray] = {}
    texts: dict[str, list[str]] = {}
    most = {"train": len(source), "validation": recipe.evaluation.validation_rows, "test": recipe.evaluation.max_rows}
    for name in PARTS:
        found = [(int(row), said) for row in getattr(prepared.splits, name) if (said := texts_of(prepared, int(row)))]
        kept = fixed_choice(np.arange(len(found)), most[name])
        rows[name] = np.array([found[i][0] for i in kept], dtype=np.int64)
        texts[name] = [BETWEEN.join(found[i][1]) for i in kept]
        if not found and (name == "train" or getattr(recipe.data.split, name)):
            raise DataError(f"no row with a text is left for {name}", where=source.name, mend="change data.split")
    return MediaTable(prepared, rows, texts, media[0] if media else None, schema.inputs[media[0]] if media else None)


def table_schema(source: Source, recipe: Recipe) -> Schema:
    """What the columns mean: those that the recipe, or the data of themselves, name as text and media."""
    data, columns, defaults = recipe.data, source.table.column_names, source.defaults
    named = data.inputs or defaults.get("inputs")
    if named is None:
        named = {"text": "text"}
    for name in named:
        require(name, columns, "data.inputs")
    texts = [name for name, kind in named.items() if kind == "text"]
    media = [name for name, kind in named.items() if kind in ("image", "audio")]
    others = [name for name in named if name not in texts and name not in media]
    if not texts:
        raise DataError("no column of text to learn from", where=source.name, mend="name one in data.inputs")
    if others or len(media) > 1:
        what = f"{others[0]} is neither text nor a medium" if others else f"{' and '.join(media)} are two media"
        raise DataError(
            f"pretraining reads texts and one medium; {what}", where="data.inputs", mend="leave it out of data.inputs"
        )
    return unlabelled(source, recipe, {name: named[name] for name in columns if name in named})


def texts_of(prepared: Prepared, row: int) -> list[str]:
    """A row's texts, one a column, without empty ones."""
    cells, kinds = prepared.rows[row].inputs, prepared.schema.inputs
    found = [str(cells[name]).strip() for name, kind in kinds.items() if kind == "text" and cells[name]]
    return [text for text in found if text]


class Cells(Sequence[Any]):
    """A column's cells, each read when it is asked for."""

    def __init__(self, prepared: Prepared, column: str) -> None:
        self.prepared, self.column = prepared, column

    def __len__(self) -> int:
        return len(self.prepared.rows)

    @overload
    def __getitem__(self, row: int) -> Any: ...

    @overload
    def __getitem__(self, row: slice) -> list[Any]: ...

    def __getitem__(self, row: int | slice) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        return self.prepared.rows[row].inputs[self.column]

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(len(self)))


def no_media() -> RecipeError:
    """What is said where an objective needs media, and the data have none."""
    return RecipeError(
        "contrastive and matching need pictures or sounds beside the texts",
        where="pretraining.objectives",
        mend="give a table, and name its column of image or audio in data.inputs",
    )


def media_features(table: MediaTable, recipe: Recipe, progress: Any) -> dict[int, Tensor]:
    """Row -> features (1, width) fp32 of its medium by the recipe's encoder, computed once.

    Raises:
        RecipeError: the data have no medium, or the recipe no encoder for it, or one that is aligned already.
    """
    if table.column is None or table.kind is None:
        raise no_media()
    asked = getattr(recipe.model, table.kind)
    if asked is None:
        raise RecipeError(
            f"the data have {table.kind} inputs", where=f"model.{table.kind}", mend="name an encoder for them"
        )
    if (Path(resolve(str(asked), table.kind)) / ALIGNMENT).is_file():
        raise RecipeError(
            "is aligned already", where=f"model.{table.kind}: {asked}", mend="name the encoder that it was made from"
        )
    cells, root = Cells(table.prepared, table.column), table.prepared.source.root
    with torch.inference_mode():
        return cell_features(table.column, table.kind, str(asked), cells, recipe, root, progress)
