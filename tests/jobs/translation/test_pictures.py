"""Pictures of a column and pictures in use have the same features; what is missing or broken is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.errors import MediaError, RecipeError
from sensorium.jobs.translation.pictures import PictureReader, picture_features
from sensorium.recipe import Recipe
from sensorium.training.progress import make_progress
from tests.small_data import picture
from tests.tiny_parts import vit


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    encoder = vit(tmp_path_factory.mktemp("parts") / "vit")
    return Recipe.parse({"data": {"source": "x"}, "model": {"image": str(encoder), "image_size": 32}})


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))


def test_a_column_and_in_use(recipe: Recipe, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = [picture(colour, rng) for colour in ("red", "blue", "green")]
    said: list[str] = []
    cells = [
        {"bytes": data[0], "path": None},
        None,
        {"bytes": b"no picture", "path": None},
        {"bytes": data[1], "path": None},
    ]
    values, present = picture_features(cells, recipe, None, _Saying(said))
    assert present.tolist() == [True, False, False, True] and values.shape[:2] == (4, 5)
    assert any("1 items have a picture that cannot be read" in line for line in said)
    assert not values[1:3].any()
    (tmp_path / "blue.png").write_bytes(data[1])
    reader = PictureReader(recipe)
    found = reader([data[0], None, tmp_path / "blue.png"])
    assert found is not None and found[1].tolist() == [True, False, True]
    torch.testing.assert_close(found[0][[0, 2]], values[[0, 3]], atol=1e-5, rtol=1e-5)
    again = reader([data[2]])
    assert again is not None and not torch.allclose(again[0][0], found[0][0])
    assert reader([None, None]) is None


def test_what_cannot_be_read(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"bad\.png"):
        PictureReader(recipe)([tmp_path / "bad.png"])
    with pytest.raises(MediaError, match=r"nothere\.png: cannot be read"):
        PictureReader(recipe)([tmp_path / "nothere.png"])
    blind = recipe.model_copy(update={"model": recipe.model.model_copy(update={"image": None})})
    with pytest.raises(RecipeError, match="pictures need an encoder"):
        PictureReader(blind)([b"x"])


class _Saying:
    def __init__(self, said: list[str]) -> None:
        self.said, self.task = said, make_progress(quiet=True).task

    def __call__(self, line: str) -> None:
        self.said.append(line)
