from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from sensorium.data.interactions import Entities
from sensorium.errors import RunError
from sensorium.jobs.catalogue import ITEMS, USERS, open_catalogue, save_catalogue, title_column
from tests.models.small_ranker import small_shop


def test_a_catalogue_comes_back_as_it_went(tmp_path: Path) -> None:
    shop = small_shop()
    shop.items.inputs |= {"seen": "time", "where": "place", "poster": "image"}
    shop.items.cells = {
        **shop.items.cells, "seen": [datetime(2020, 1, 1 + i) for i in range(12)],
        "where": [None, *[(52.0, float(i)) for i in range(11)]], "poster": ["/home/someone/p.png"] * 12,
    }  # fmt: skip
    rows = np.arange(0, len(shop), 2)
    save_catalogue(tmp_path, shop, rows)
    opened = open_catalogue(tmp_path)
    kept = {name: cells for name, cells in shop.items.cells.items() if name != "poster"}  # media stay behind
    assert opened.known.items.cells == kept and "poster" not in opened.known.items.inputs
    assert opened.known.users.cells == shop.users.cells and opened.known.users.names == shop.users.names
    assert opened.titles == shop.items.cells["title"]
    order = sorted(rows, key=lambda row: (shop.user[row], shop.time[row]))
    for name in ("user", "item", "time", "rating"):
        np.testing.assert_array_equal(getattr(opened.known, name), getattr(shop, name)[order])
    for user in range(len(shop.users)):
        assert (opened.known.user[opened.start[user] : opened.start[user + 1]] == user).all()
    for item, first in enumerate(opened.first_seen):
        times = [shop.time[row] for row in rows if shop.item[row] == item]
        assert first == min(times) if times else np.isnan(first)
    assert b"someone" not in (tmp_path / ITEMS).read_bytes()


def test_equal_times_keep_the_files_order(tmp_path: Path) -> None:
    shop = small_shop()
    shop.time[:] = 5.0
    save_catalogue(tmp_path, shop, np.arange(len(shop))[::-1])
    known = open_catalogue(tmp_path).known
    for user in range(len(shop.users)):
        assert known.item[known.user == user].tolist() == shop.item[shop.user == user].tolist()


def test_what_items_are_called() -> None:
    assert title_column(Entities([], {"plot": "text", "movie_title": "text"})) == "movie_title"
    assert title_column(Entities([], {"plot": "text", "year": "number"})) == "plot"
    assert title_column(Entities([], {"subtitles": "number", "kind": "category"})) is None


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_copy_that_is_not_whole_is_refused(tmp_path: Path, damage: str) -> None:
    shop = small_shop()
    save_catalogue(tmp_path, shop, np.arange(len(shop)))
    path = tmp_path / USERS
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    else:
        path.write_bytes((tmp_path / ITEMS).read_bytes())
    with pytest.raises(RunError, match=r"(missing|damaged); copy the run again"):
        open_catalogue(tmp_path)
