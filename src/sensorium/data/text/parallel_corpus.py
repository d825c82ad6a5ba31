"""Texts that say the same in several languages, and the directions in which they are to be translated.

Rows come from line-aligned files, or from any table with a column a language; a row whose text is missing in one of two
languages is left out of the directions between them, and counted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensorium.data.schema import Schema, infer_schema
from sensorium.data.splits import Splits, choose_rows, split
from sensorium.data.tables import Source
from sensorium.errors import DataError
from sensorium.recipe import DataRecipe

LONGEST = 100_000  # characters of a text: what is longer is no sentence
_TAG = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")


@dataclass(frozen=True)
class Side:
    """One direction of a part: ``rows`` (n,) of the table whose two texts are there."""

    source: str
    target: str
    rows: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.source}-{self.target}"


@dataclass
class ParallelCorpus:
    """Parallel text, split.

    Attributes:
        languages: tags, the columns' names, that some direction reads or writes.
        directions: (source, target) tags.
        picture: the column with a picture of what is said, or None.
        left_out: line about rows -> how many, for the report.
    """

    table: Source
    schema: Schema
    splits: Splits
    languages: list[str]
    directions: list[tuple[str, str]]
    picture: str | None
    left_out: dict[str, int]

    def texts(self, language: str, rows: np.ndarray | None = None) -> list[str]:
        """The texts of ``rows`` (all by default) in a language, without white space around; "" where there is none."""
        column = self.table.table.column(language)
        return [(text or "").strip() for text in (column if rows is None else column.take(pa.array(rows))).to_pylist()]

    def sides(self, rows: np.ndarray) -> list[Side]:
        """The directions of ``rows``, each with those whose two texts can be read."""
        readable = {language: self._readable(language) for language in self.languages}
        return [Side(a, b, rows[(readable[a] & readable[b])[rows]]) for a, b in self.directions]

    def clusters(self, rows: np.ndarray) -> list[Any] | None:
        """What rows belong to, where the data group them."""
        if self.schema.group is None:
            return None
        return list(self.table.table.column(self.schema.group).take(pa.array(rows)).to_pylist())

    def _readable(self, language: str) -> np.ndarray:
        column = self.table.table.column(language)
        lengths = pc.fill_null(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0).to_numpy()
        return np.asarray((lengths > 0) & (lengths <= LONGEST))


def open_corpus(source: Source, data: DataRecipe, directions: Sequence[str], picture: str | None) -> ParallelCorpus:
    """Split ``source`` and find its directions.

    Args:
        directions: as "en-de"; all pairs of the data's languages where there are none.
        picture: column of pictures, or None.

    Raises:
        DataError: a direction names no language of the data, there are not two languages, or a part has no pair.
    """
    known = _languages(source, data)
    pairs = [_direction(one, known, source.name) for one in directions] or [
        (a, b) for a in known for b in known if a != b
    ]
    languages = [one for one in known if any(one in pair for pair in pairs)]
    if picture is not None and picture not in source.table.column_names:
        raise DataError(
            f"there is no column {picture}",
            where="translation.picture",
            mend=f"columns: {', '.join(source.table.column_names[:12])}",
        )
    inputs: dict[str, Any] = {language: "text" for language in languages if language != pairs[0][1]}
    schema = infer_schema(source, data.model_copy(update={"inputs": inputs, "target": pairs[0][1]}), "generate")
    rows = choose_rows(np.arange(len(source)), data.max_rows, data.split.seed)
    splits = split(source, schema, data.split, rows)
    corpus = ParallelCorpus(source, schema, splits, languages, pairs, picture, {})
    for part in ("train", "test"):
        if not any(len(side.rows) for side in corpus.sides(getattr(splits, part))):
            raise DataError(
                f"no pair of texts is left in the {part} part",
                where=source.name,
                mend="check the directions and the split",
            )
    for language in languages:
        missing = int((~corpus._readable(language)).sum())
        if missing:
            corpus.left_out[f"no text of at most {LONGEST:,} characters in {language}"] = missing
    return corpus


def _languages(source: Source, data: DataRecipe) -> list[str]:
    """The columns that hold languages: what the data set says, what the recipe names, or text columns called by a tag."""
    columns = source.table.column_names
    given = source.defaults.get("languages")
    if data.inputs is not None:
        given = [name for name, kind in data.inputs.items() if kind == "text"] + ([data.target] if data.target else [])
    if given is None:
        given = [name for name in columns if _TAG.fullmatch(name) and len(re.split("[-_]", name)[0]) <= 3]
    found = [
        name
        for name in dict.fromkeys(given)
        if name in columns and pa.types.is_large_string(source.table.column(name).type)
    ]
    if len(found) < 2:
        raise DataError(
            f"{len(found)} columns of text in a language, and two are needed",
            where=source.name,
            mend="name the columns by language, as en and de, or name them in data.inputs",
        )
    return found


def _direction(direction: str, known: Sequence[str], where: str) -> tuple[str, str]:
    """A tag may itself hold a hyphen: every place to part it is tried."""
    plain = {tag.lower(): tag for tag in known}
    parts = direction.split("-")
    for i in range(1, len(parts)):
        one, other = "-".join(parts[:i]).lower(), "-".join(parts[i:]).lower()
        if one in plain and other in plain and one != other:
            return plain[one], plain[other]
    strange = next((part for part in parts if part.lower() not in plain), direction)
    near = difflib.get_close_matches(strange, known, n=1)
    mend = f"did you mean {near[0]}?" if near else f"languages of the data: {', '.join(known[:20])}"
    raise DataError(f"direction {direction} names no language of the data", where=where, mend=mend)
