"""``emoji-names``: what every emoji is called in 26 languages, beside its picture, for translation.

One row an emoji, one column a language (Unicode CLDR's names, as emojibase collects them), the picture, and the concept by
which rows are split, so that no name of a tested concept was ever read. Regional variants of a language (``en-gb``,
``es-mx``) differ in a handful of names and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sensorium.data.readers.chunks import Chunk, canonical

REGIONAL = ("en-gb", "es-mx")
KEPT = ("picture", "concept", "group", "subgroup", "id")


def languages(path: Path) -> list[str]:
    """The language tags of the table at ``path``, English first and German second, where they are there."""
    known = [field.name for field in pq.read_schema(path).field("names").type if field.name not in REGIONAL]
    first = [tag for tag in ("en", "de") if tag in known]
    return [*first, *(tag for tag in known if tag not in first)]


def chunks(path: Path) -> Iterator[Chunk]:
    """Rows of ``emoji.parquet`` with a text column a language; None where an emoji has no name in one."""
    tags = languages(path)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=512, use_threads=False):
            names = batch.column("names").to_pylist()
            columns = {tag: pa.array([(row or {}).get(tag) for row in names], pa.large_string()) for tag in tags}
            kept = {name: canonical(batch.column(name), name) for name in KEPT}
            yield Chunk(0, columns | kept, batch.num_rows)
