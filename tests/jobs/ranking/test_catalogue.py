"""The catalogue that answers are given from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from sensorium.data.interactions.arrays import Entities, Interactions
from sensorium.jobs.ranking.catalogue import FIRST_SEEN, ID, ITEMS, save_catalogue


def test_an_attribute_named_item_does_not_take_the_place_of_the_ids(tmp_path: Path) -> None:
    items = Entities(["i0", "i1", "i2"], {"item": "text"}, {"item": ["lamp", None, "chair"]})
    inter = Interactions(
        Entities(["u0"]), items, np.zeros(2, dtype=int), np.array([0, 2]), np.array([5.0, 3.0]), np.full(2, np.nan)
    )
    save_catalogue(tmp_path, inter, np.arange(2))
    found = pq.read_table(tmp_path / ITEMS).to_pydict()
    assert found[ID] == ["i0", "i1", "i2"] and found["item"] == ["lamp", None, "chair"]
    assert found[FIRST_SEEN] == [5.0, None, 3.0]
