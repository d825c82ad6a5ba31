"""The invented shop, with its pictures, prices and reviews, from files to a recommendation."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sensorium.cli.main import run as command
from sensorium.jobs.ranking.parts import build_recommender
from sensorium.jobs.ranking.rankings import open_shop, rank
from sensorium.models.ranking.recommender import Recommender
from sensorium.recipe import Recipe
from sensorium.run import Run
from sensorium.training.progress import make_progress
from tests.end_to_end.commands import command as words
from tests.end_to_end.commands import done, new_process, sets

SHOP = Path(__file__).parents[1] / "data" / "shop"
RECIPE = """
task: recommend
data:
  source: shop/interactions.csv
  interactions:
    {user: customer, item: product, time: bought, rating: stars, review: review, rating_range: [1, 5],
     items: {source: items.csv, key: product,
             inputs: {title: text, price: number, category: category, picture: image}},
     users: {source: users.csv, key: customer}}
model: {image_size: 32}
recommender: {width: 16, layers: 1, history: 20}
training: {epochs: 1, batch_size: 16, learning_rate: 3.0e-3}
evaluation: {bootstrap: 100, baselines: false}
tracking: []
output: run
"""


@pytest.mark.real
def test_pictures_and_words_of_a_shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SHOP, tmp_path / "shop")
    broken = tmp_path / "shop" / "pictures" / "p01.png"
    broken.write_bytes(b"no picture")
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert command(["fit", "r.yaml"]) == 0
    said = capfd.readouterr()
    assert "1 items have a picture that cannot be read" in " ".join((said.out + said.err).split())
    shapes = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["shapes"]
    assert set(shapes) == {"title", "price", "category", "picture"}
    shutil.rmtree(tmp_path / "shop")  # a run stands alone
    assert command(["recommend", "run", "--history", "Red mug; Blue mug", "--top", "3", "--because", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert len(found["items"]) == 3 and "Red mug" not in {one["title"] for one in found["items"]}


@pytest.fixture
def shop(tmp_path: Path, parts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A copy of the shop with some rows that are wrong, a recipe for it, and settings that make it small."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SHOP, tmp_path / "shop")
    with open(tmp_path / "shop" / "interactions.csv", encoding="utf-8") as file:
        first = next(iter(csv.DictReader(file)))
    lines = [
        ",".join(first.values()),
        "c01,p01,2099-01-01T00:00:00Z,5,From the future.",
        "c01,p01,2024-03-09T21:48:00Z,9,",
    ]
    lines.append("c02,p99,2024-03-01T00:00:00Z,4,Nobody lists this.")
    with open(tmp_path / "shop" / "interactions.csv", "a", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))
    (tmp_path / "r.yaml").write_text(RECIPE)
    named = {"model.text": parts["bert"], "model.image": parts["vit"]}
    return {**named, "recommender.transitions": "never", "training.epochs": 2}


def test_reviews_and_findings_from_files_to_lists(tmp_path: Path, shop: dict[str, object]) -> None:
    done("fit", "r.yaml", *sets(shop))
    run = Run(tmp_path / "run")
    model = Recommender.open(run.model)
    assert set(model.config.shapes) == {"title", "price", "category", "picture"} and model.config.reviews is not None
    page = run.report.read_text(encoding="utf-8")
    for line in (
        "1 interactions repeat another: the first stays",
        "1 interactions are dated in the future: set aside",
        "1 ratings lie outside 1 to 5: set aside",
        "1 items have no row",
    ):
        assert line in page
    card = (run.model / "README.md").read_text(encoding="utf-8")
    for line in (
        "of an item, picture: image",
        "an interaction: the item, time, rating, review",
        "3 rows were set aside",
    ):
        assert line in card
    # what is known of a user when answering is what the model read: the reviews too
    user = next(
        i for i, said in enumerate(pq.read_table(run.model / "users.parquet")["reviews"].to_pylist()) if max(said) >= 0
    )
    opened = open_shop(Recipe.load(run.folder / "recipe.yaml"))
    name = opened.inter.users.names[user]
    found = json.loads(done("recommend", "run", "--user", name, "--top", "3", "--json").out)
    cases = np.flatnonzero(opened.inter.user[opened.splits.test] == user)
    history = opened.histories(opened.splits.test[cases], 20, "test")
    assert history.reviews is not None and (history.reviews >= 0).any()
    scores = (model.user_vectors(history) @ model.item_vectors().T)[0]
    for one in found["items"]:
        place = opened.inter.items.names.index(one["item"])
        assert one["score"] == pytest.approx(float(scores[place]), abs=1e-4)
    history.reviews[:] = -1
    assert float((model.user_vectors(history) @ model.item_vectors().T - scores).abs().max()) > 1e-4
    shutil.rmtree(tmp_path / "shop")  # a run stands alone, elsewhere and with nothing cached
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    (tmp_path / "empty").mkdir()
    said = new_process(words("recommend", "elsewhere", "--user", name, "--top", "3", "--json"), tmp_path / "empty")
    assert json.loads(said.out)["items"] == found["items"]


def test_a_later_review_changes_no_answer(tmp_path: Path, shop: dict[str, object]) -> None:
    """Reviews of the held-out interactions are nowhere in the model: other words there, and all ranks are the same."""
    ranks = []
    for said in (None, "Something that nobody else says."):
        recipe = Recipe.load("r.yaml", [f"{key}={value}" for key, value in shop.items()])
        opened = open_shop(recipe)
        held = opened.splits.test.tolist()
        if said is not None:
            opened.inter.reviews = [said if i in held else text for i, text in enumerate(opened.inter.reviews or [])]
        model = build_recommender(opened, recipe, make_progress(quiet=True)).model
        histories = opened.histories(opened.splits.test, 20, "test")
        ranks.append(rank(model, histories, opened.inter.item[opened.splits.test], False).ranks)
    assert np.array_equal(*ranks)


def test_a_resume_asks_the_first_weights_no_second_time(
    tmp_path: Path, shop: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sensorium.jobs.ranking.fit as job

    whole = job.measured
    monkeypatch.setattr(job, "measured", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert command(["fit", "r.yaml", *sets(shop)]) != 0
    monkeypatch.setattr(job, "measured", whole)
    done("fit", "r.yaml", *sets(shop))
    log = (tmp_path / "run" / "logs" / "run.log").read_text()
    assert [line.split("read: ")[1].split(",")[0] for line in log.splitlines() if "read: " in line] == [
        "before",
        "after",
    ]
    metrics = Run(tmp_path / "run").metrics
    shutil.rmtree(tmp_path / "run")
    done("fit", "r.yaml", *sets(shop))
    assert Run(tmp_path / "run").metrics == metrics
