"""Data sets of interactions that come with Sensorium: each a function from the cache folder to tables and columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sensorium.data.bundled.movielens import movielens_100k
from sensorium.data.bundled.taste import emoji_taste
from sensorium.data.interactions.sources import InteractionSources
from sensorium.recipe import InteractionsRecipe

BUNDLED_INTERACTIONS: dict[str, Callable[[Path], tuple[InteractionSources, InteractionsRecipe]]] = {
    "emoji-taste": emoji_taste,
    "movielens-100k": movielens_100k,
}
