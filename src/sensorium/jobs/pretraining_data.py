"""The texts that are pretrained on: documents of text files, or the rows of a table, by part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.data.bundled import BUNDLED
from sensorium.data.sources import files_fingerprint, find
from sensorium.errors import DataError
from sensorium.jobs.pretraining_table import PARTS, MediaTable, open_table
from sensorium.recipe import Recipe, SplitRecipe
from sensorium.tasks.pretrain import WITH_MEDIA


@dataclass
class Texts:
    """What is read.

    Attributes:
        parts: part -> documents, or the texts of a table's rows.
        units: what they are called; table: where they come from one.
    """

    parts: dict[str, list[str]]
    fingerprint: str
    units: str
    table: MediaTable | None = None


def open_texts(recipe: Recipe, progress: Any) -> Texts:
    """The recipe's texts by part: of a table where media stand beside them or the source is one, else of text files.

    Raises:
        DataError: nothing is there, or a part that is asked for stays empty.
    """
    source, asked = recipe.data.source, recipe.pretraining
    with_media = asked is not None and any(name in WITH_MEDIA for name in asked.objectives)
    if with_media or source in BUNDLED or recipe.data.format not in ("auto",) or not _are_texts(find(source)):
        table = open_table(recipe, progress)
        return Texts(table.texts, table.prepared.source.fingerprint, "rows", table)
    paths = find(source)
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for path in paths:
        for document in _documents(path):
            parts[part_of(document, recipe.data.split)].append(document)
    split = recipe.data.split
    for part, share in (("train", 1.0), ("validation", split.validation), ("test", split.test)):
        if share and not parts[part]:
            raise DataError(
                f"no document is left for {part}",
                where=str(source),
                mend="add documents, parted by blank lines, or change data.split",
            )
    return Texts(parts, files_fingerprint(paths, []), "documents")


def _are_texts(paths: list[Path]) -> bool:
    return all(path.suffix in (".txt", ".md") for path in paths)


def _documents(path: Path) -> Iterator[str]:
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        if block.strip():
            yield block.strip()


def part_of(document: str, split: SplitRecipe) -> str:
    """The part that a document falls into: a number in [0, 1) drawn from its content and the seed."""
    digest = hashlib.blake2b(document.encode(), digest_size=8, salt=str(split.seed).encode()[:16]).digest()
    draw = int.from_bytes(digest, "big") / 2**64
    if draw < split.test:
        return "test"
    return "validation" if draw < split.test + split.validation else "train"
