"""Interactions for tests: written as files, or made in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sensorium.data.interactions.arrays import Entities, Interactions
from sensorium.recipe import DataRecipe, InteractionsRecipe

NOW = 1_750_000_000.0  # June 2025; every test's clock stands here


def recipe_of(folder: Path, lines: str, bad_rows: str = "quarantine", **columns: object) -> DataRecipe:
    """A recipe for ``t.csv`` with columns user_id, item_id, timestamp, rating and these ``lines``."""
    path = folder / "t.csv"
    path.write_text("user_id,item_id,timestamp,rating\n" + lines)
    told = InteractionsRecipe(**{"rating": "rating", **columns})
    return DataRecipe(source=str(path), interactions=told, bad_rows=bad_rows)


def made(user: list[int], item: list[int], time: list[float], rating: list[float] | None = None) -> Interactions:
    """Interactions of users u0, u1, … with items i0, i1, …"""
    given = np.full(len(user), np.nan) if rating is None else rating
    return Interactions(
        Entities([f"u{i}" for i in range(max(user, default=-1) + 1)]),
        Entities([f"i{i}" for i in range(max(item, default=-1) + 1)]),
        np.array(user, dtype=np.int64),
        np.array(item, dtype=np.int64),
        np.array(time, dtype=np.float64),
        np.array(given, dtype=np.float32),
    )
