"""``emoji-pictures``: every emoji with all its skin tones, a row a picture, for the tokenizer of pictures.

The parts are those of ``emoji-draw``, so that no picture that a drawer is measured on was ever seen by its tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from sensorium.data.bundled.drawing_pairs import parts, read_pictures
from sensorium.data.readers.chunks import MEDIA, Chunk

COLUMNS = ("id", "name", "concept", "group", "skin_tone", "gender")


def chunks(folder: Path) -> Iterator[Chunk]:
    """The table: ``picture`` beside ``COLUMNS``, ``split`` and ``held_out`` ("", "combination" or "concept")."""
    pictures = read_pictures(folder)
    given = parts(pictures)
    for start in range(0, len(pictures), 512):
        rows, told = pictures[start : start + 512], given[start : start + 512]
        columns = {"picture": pa.array([{"bytes": row["picture"], "path": None} for row in rows], MEDIA)}
        columns |= {name: pa.array([row[name] for row in rows], pa.large_string()) for name in COLUMNS}
        for place, name in enumerate(("split", "held_out")):
            columns[name] = pa.array([part[place] for part in told], pa.large_string())
        yield Chunk(0, columns, len(rows))
