"""MovieLens 100K in RecBole's atomic files (tab-separated, typed headers), with its knowledge graph."""

from __future__ import annotations

import shutil
from pathlib import Path

# Rows below the header: ratings, users, films, films linked to the graph, triples of the graph.
ROWS = {"inter": 100_000, "user": 943, "item": 1_682, "link": 1_598, "kg": 91_631}


def convert(unpacked: Path, target: Path) -> None:
    """``ml-100k.{inter,user,item,link,kg}``, their rows counted."""
    folder = unpacked / "recbole" / "recbole" / "dataset_example" / "ml-100k"
    for ending, expected in ROWS.items():
        file = folder / f"ml-100k.{ending}"
        with open(file, "rb") as lines:
            found = sum(1 for line in lines if line.strip()) - 1
        if found != expected:
            raise ValueError(f"{file.name} has {found:,} rows instead of {expected:,}")
        shutil.copyfile(file, target / file.name)
