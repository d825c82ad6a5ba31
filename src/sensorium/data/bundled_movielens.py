"""MovieLens 100K: 100,000 ratings of 1,682 films by 943 people, with attributes and a knowledge graph.

F. M. Harper and J. A. Konstan, The MovieLens Datasets (2015); RecBole's tab-separated files with typed headers.
"""

from __future__ import annotations

from pathlib import Path

from sensorium import assets
from sensorium.data.interactions_reading import InteractionSources
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
    return InteractionSources(inter, items, users, triples, links), recipe


def _open(path: Path, cache: Path) -> Source:
    source = open_source(DataRecipe(source=str(path), format="csv"), cache)
    plain = [name.partition(":")[0] for name in source.table.column_names]
    source.table = source.table.rename_columns([NAMES.get(name, name) for name in plain])
    return source
