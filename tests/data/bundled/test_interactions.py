"""Bundled interactions: what the asset states, what is withheld, and the same bytes from the same seed."""

import numpy as np
import pytest

from sensorium import assets
from sensorium.data.bundled.taste import chosen, emoji_taste, family_of
from sensorium.data.interactions.reading import open_interactions
from sensorium.data.interactions.splits import history_of, split_hash, split_interactions
from sensorium.recipe import DataRecipe, InteractionSplitRecipe, InteractionsRecipe

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return open_interactions(DataRecipe(source="movielens-100k"), tmp_path_factory.mktemp("films"))


def test_movielens_is_as_stated(films):
    inter, report = films
    assert (len(inter), len(inter.users), len(inter.items)) == (100_000, 943, 1_682)
    assert report.findings == {"items_without_entity": 84} and not report.set_aside
    assert inter.knowledge.triples.shape == (91_631, 3) and (inter.knowledge.of_item >= 0).sum() == 1_598
    first = (inter.users.names[inter.user[0]], inter.items.names[inter.item[0]], inter.rating[0])
    assert first == ("196", "242", 3) and abs(inter.time[0] - 881250949) < 1  # the file's first line
    toy = inter.items.index()["1"]
    assert {name: cells[toy] for name, cells in inter.items.cells.items()} == {
        "title": "Toy Story",
        "year": 1995.0,
        "genres": "Animation Children's Comedy",
    }
    assert {name: cells[0] for name, cells in inter.users.cells.items()} == {
        "age": 24.0,
        "gender": "M",
        "occupation": "technician",
    }


def test_leave_one_out_is_recboles(films):
    """The hash is that of the split that RecBole 1.2.1 itself makes of this file (benchmarks/sasrec_peer.py)."""
    inter, _ = films
    splits = split_interactions(inter, InteractionSplitRecipe())
    assert split_hash(inter, splits) == "3499e366048009970245df667157d05832a6433999f755be2efd2d81ada3633a"
    lines = (assets.locate("movielens-100k") / "ml-100k.inter").read_text().splitlines()[1:]
    exact = np.array([float(line.split("\t")[3]) for line in lines])
    assert np.abs(inter.time - exact).max() < 1 and len(np.unique(inter.time)) < len(np.unique(exact))
    order = np.lexsort((np.arange(len(exact)), exact, inter.user))
    last = order[np.cumsum(np.bincount(inter.user)) - 1]
    assert (splits.test != last).sum() == 4  # people whose last two seconds fall together in RecBole's floats
    known = history_of(inter, splits, splits.test, 1000, "test")
    assert ((known.items >= 0).sum(axis=1) == np.bincount(inter.user) - 1).all()


def test_the_recipe_says_more_than_the_bundle(tmp_path):
    told = InteractionsRecipe(k_core=20, split=InteractionSplitRecipe(kind="by_time"))
    inter, report = open_interactions(DataRecipe(source="movielens-100k", interactions=told), tmp_path)
    assert np.bincount(inter.item).min() >= 20 and np.bincount(inter.user).min() >= 20
    assert report.findings["k_core_items"] == 1_682 - len(inter.items) and inter.items.inputs["title"] == "text"


def test_tastes_follow_the_pictures_and_say_that_they_are_simulated(tmp_path):
    inter, _ = open_interactions(DataRecipe(source="emoji-taste"), tmp_path)
    assert "simulated" in inter.notes["simulated"] and inter.items.inputs == {"picture": "image"}
    assert (len(inter.users), len(inter.items)) == (800, 600) and 8 < len(inter) / 600 < 16
    ids, pictures, family = chosen(assets.locate("emoji") / "emoji.parquet", 0)
    assert inter.items.names == ids and inter.items.cells["picture"][5]["bytes"] == pictures[5]
    # of each user's items, two or three families hold most; by chance they would hold a seventh
    counts = np.zeros((800, family.max() + 1))
    np.add.at(counts, (inter.user, family[inter.item]), 1)
    top = np.sort(counts, axis=1)[:, -3:].sum() / len(inter)
    shuffled = np.zeros_like(counts)
    np.add.at(shuffled, (inter.user, np.random.default_rng(0).permutation(family)[inter.item]), 1)
    assert top > 0.75 and top > 1.4 * np.sort(shuffled, axis=1)[:, -3:].sum() / len(inter)
    assert 0.25 < np.isfinite(inter.rating).mean() < 0.35
    again = emoji_taste(tmp_path / "anew")[0].interactions.table
    assert again.equals(emoji_taste(tmp_path)[0].interactions.table)
    assert not again.equals(emoji_taste(tmp_path, seed=1)[0].interactions.table)


def test_families_are_told_from_pixels():
    import io

    from PIL import Image

    def picture(colour: str, box: tuple[int, int, int, int]) -> bytes:
        one = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
        one.paste(Image.new("RGBA", (box[2] - box[0], box[3] - box[1]), colour), box[:2])
        file = io.BytesIO()
        one.save(file, "PNG")
        return file.getvalue()

    wide, tall, full, slight = (0, 20, 64, 40), (20, 0, 40, 64), (2, 2, 62, 62), (20, 20, 40, 40)
    colours = ("red", "yellow", "green", "blue", "magenta", "gray")
    found = [family_of(picture(c, box)) for c in colours for box in (wide, tall, full, slight)]
    assert found == list(range(24))
