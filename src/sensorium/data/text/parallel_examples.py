"""Parallel text as questions and answers: one row a pair and direction, for a GPT that reads the direction in its prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from sensorium.data.readers.chunks import ROWS, Chunk
from sensorium.data.tables import Source, build
from sensorium.data.text.parallel_corpus import ParallelCorpus, open_corpus
from sensorium.recipe import DataRecipe, TranslationRecipe
from sensorium.run import sha256_text

TEXT, TRANSLATION, DIRECTION, PAIR = "text", "translation", "direction", "pair"


def asked_in(source: str, target: str, text: str) -> str:
    """What a GPT is asked; the direction stands before the text as a tag."""
    return f"{source}-{target}: {text}"


def source_of(direction: str, asked: str) -> str:
    """The text of what ``asked_in`` gave."""
    return asked.removeprefix(f"{direction}: ")


def directed(source: Source, data: DataRecipe, asked: TranslationRecipe, cache: Path) -> Source:
    """``source``'s pairs in every direction that is asked for, converted once into ``cache``.

    Columns: ``text`` (see ``asked_in``), ``translation``, ``direction``, ``pair`` (the row it is from, which no split parts),
    the picture, and what rows are split by.

    Raises:
        DataError: as ``open_corpus``.
    """
    if data.target == TRANSLATION:  # a recipe with everything written out names these very columns
        data = data.model_copy(update={"inputs": None, "target": None})
    corpus = open_corpus(source, data, asked.directions, asked.picture)
    schema = corpus.schema
    kept = [name for name in (schema.group, schema.split, data.split.by_time, corpus.picture) if name is not None]
    inputs = {TEXT: "text"} | ({corpus.picture: "image"} if corpus.picture else {})
    defaults = {"inputs": inputs, "target": TRANSLATION, "group_by": schema.group or PAIR, "split": schema.split}
    print_ = sha256_text(f"{source.fingerprint} directed 1 {corpus.directions} {kept}")
    return build(
        lambda: _chunks(corpus, list(dict.fromkeys(kept))),
        source.name,
        print_,
        cache,
        names=[side.name for side in corpus.sides(np.arange(len(source)))],
        kind="directed",
        unit="pair",
        defaults={key: value for key, value in defaults.items() if value is not None},
        root=source.root,
    )


def _chunks(corpus: ParallelCorpus, kept: list[str]) -> Iterator[Chunk]:
    for number, side in enumerate(corpus.sides(np.arange(len(corpus.table)))):
        for start in range(0, len(side.rows), ROWS):
            rows = side.rows[start : start + ROWS]
            asked = [asked_in(side.source, side.target, text) for text in corpus.texts(side.source, rows)]
            columns = {
                TEXT: pa.array(asked, pa.large_string()),
                TRANSLATION: pa.array(corpus.texts(side.target, rows), pa.large_string()),
                DIRECTION: pa.array([side.name] * len(rows), pa.large_string()),
                PAIR: pa.array(rows),
            }
            for name in kept:
                columns[name] = corpus.table.table.column(name).take(pa.array(rows)).combine_chunks()
            yield Chunk(number, columns, len(rows))
