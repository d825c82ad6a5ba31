"""MovieLens 100K: 100,000 ratings of 1,682 films by 943 people, with attributes and a knowledge graph.

F. M. Harper and J. A. Konstan, The MovieLens Datasets (2015); RecBole's tab-separated files with typed headers.

RecBole maps times to 0 … 1 and keeps them as 32-bit floats, about a second apart at the late end: two seconds that fall
together are tied, and stay in the file's order. That decides the last film of four people. Times are rounded the same way
here, by at most a second, so that the split is RecBole's, film by film.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from sensorium import assets
from sensorium.data.interactions.sources import InteractionSources
from sensorium.data.sources import open_source
from sensorium.data.tables import Source
from sensorium.recipe import DataRecipe, InteractionsRecipe
from sensorium.recipe.interactions import EntityTable

NAMES = {"movie_title": "title", "release_year": "year", "class": "genres"}


def movielens_100k(cache: Path) -> tuple[InteractionSources, InteractionsRecipe]:
    """The tables, columns named without their types, and what they mean."""
    folder = assets.locate("movielens-100k")
    inter, items, users, links, triples = (
        _open(folder / f"ml-100k.{ending}", cache) for ending in ("inter", "item", "user", "link", "kg")
    )
    inter.name = "movielens-100k"
    place = inter.table.column_names.index("timestamp")
    inter.table = inter.table.set_column(
        place, "timestamp", pa.array(_as_recbole(inter.table.column(place).to_numpy()))
    )
    recipe = InteractionsRecipe(
        user="user_id",
        item="item_id",
        time="timestamp",
        rating="rating",
        rating_range=(1, 5),
        items=EntityTable(
            source="ml-100k.item", key="item_id", inputs={"title": "text", "year": "number", "genres": "text"}
        ),
        users=EntityTable(
            source="ml-100k.user",
            key="user_id",
            inputs={"age": "number", "gender": "category", "occupation": "category"},
        ),
    )
    notes = {"times": "rounded by at most a second, as RecBole rounds them, so that the split is RecBole's"}
    return InteractionSources(inter, items, users, triples, links, notes), recipe


def _as_recbole(times: np.ndarray) -> np.ndarray:
    """Times (rows,) in seconds, rounded to the steps of a 32-bit float that runs from 0 at the first to 1 at the last."""
    first, last = float(times.min()), float(times.max())
    share = ((times - first) / (last - first)).astype(np.float32)
    return first + share.astype(np.float64) * (last - first)


def _open(path: Path, cache: Path) -> Source:
    source = open_source(DataRecipe(source=str(path), format="csv"), cache)
    plain = [name.partition(":")[0] for name in source.table.column_names]
    source.table = source.table.rename_columns([NAMES.get(name, name) for name in plain])
    return source
