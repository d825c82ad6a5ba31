"""The invented shop, with its pictures, prices and reviews, from files to a recommendation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sensorium.cli.main import run as command

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
