"""Bundled data: counts, what each says of its own columns, and the same bytes for the same seed."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from sensorium import assets
from sensorium.data.bundled.sets import BUNDLED, QUESTIONS, VOICES, spoken_digits
from sensorium.data.rows import Rows
from sensorium.data.schema import infer_schema
from sensorium.data.sources import open_source
from sensorium.data.splits import split
from sensorium.recipe import DataRecipe


@pytest.fixture
def emoji_asset(tmp_path, monkeypatch):
    """A small emoji.parquet of the asset's columns where ``locate`` finds it."""
    rows = [
        {
            "id": f"1f{i}",
            "concept": f"1f{i // 2}",
            "name": f"thing {i}",
            "tags": ["a", "b"] if i else None,
            "group": f"group {i % 2}",
            "subgroup": f"sub {i % 3}",
            "skin_tone": "",
            "gender": "",
            "direction": "",
            "codepoints": f"1F{i}",
            "names": {"en": f"thing {i}", "de": None},
            "picture": {"bytes": b"\x89PNG%d" % i, "path": f"{i}.png"},
        }
        for i in range(20)
    ]
    folder = tmp_path / "emoji"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "emoji.parquet")
    monkeypatch.setattr(assets, "locate", lambda name: tmp_path / name)
    return rows


def opened(name, cache):
    recipe = DataRecipe(source=name)
    source = open_source(recipe, cache)
    return source, infer_schema(source, recipe)


def test_emoji(emoji_asset, tmp_path):
    source, schema = opened("emoji", tmp_path / "cache")
    assert len(source) == 20 and source.table["tags"].to_pylist()[:2] == ["", "a, b"]
    assert source.table["names"][1].as_py() == '{"en": "thing 1"}'
    assert schema.inputs == {"name": "text", "picture": "image"} and (schema.target, schema.group) == (
        "group",
        "concept",
    )
    subgroup = infer_schema(source, DataRecipe(source="emoji", target="subgroup", inputs={"picture": "image"}))
    assert subgroup.inputs == {"picture": "image"} and subgroup.group == "concept"
    assert source.place(3) == "emoji row 4"


def test_emoji_ask_has_three_questions_a_picture(emoji_asset, tmp_path):
    source, schema = opened("emoji-ask", tmp_path / "cache")
    table = source.table.to_pydict()
    assert len(source) == 60
    for i, row in enumerate(emoji_asset):
        here = slice(3 * i, 3 * i + 3)
        assert table["question"][here] == ["what is it?", "which group?", "which subgroup?"] == list(QUESTIONS.values())
        assert table["answer"][here] == [row["name"], row["group"], row["subgroup"]]
        assert table["kind"][here] == ["name", "group", "subgroup"]
        assert table["picture"][here] == [row["picture"]] * 3 and table["concept"][here] == [row["concept"]] * 3
    assert schema.inputs == {"picture": "image", "question": "text"} and schema.target == "answer"
    assert schema.group == "concept" and schema.task == "generate"
    found = split(source, schema, DataRecipe(source="x").split, np.arange(60))
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not {table["concept"][i] for i in getattr(found, one)} & {
            table["concept"][i] for i in getattr(found, other)
        }


def test_digits(tmp_path):
    from sklearn.datasets import load_digits

    source, schema = opened("digits", tmp_path)
    assert len(source) == 1797 and schema.classes == [str(i) for i in range(10)] and schema.inputs == {"image": "image"}
    example = Rows(source, schema)[5]
    picture = np.asarray(Image.open(io.BytesIO(example.inputs["image"]["bytes"])))
    assert picture.shape == (32, 32) and example.target == str(load_digits().target[5])
    assert np.allclose(picture[::4, ::4], 255 * (1 - load_digits().images[5] / 16), atol=0.51)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    pytest.importorskip("espeakng_loader")
    return spoken_digits(tmp_path_factory.mktemp("spoken"), rows=24)


def test_spoken_digits(spoken, tmp_path):
    schema = infer_schema(spoken, DataRecipe(source="spoken-digits"))
    assert (
        schema.inputs == {"picture": "image", "sound": "audio"} and schema.group == "voice" and schema.target == "digit"
    )
    for row in spoken.table.to_pylist():
        samples, rate = soundfile.read(io.BytesIO(row["sound"]["bytes"]))
        assert rate == 16_000 and 0.2 * rate < len(samples) < 2 * rate and 0.85 < np.abs(samples).max() < 0.95
        assert Image.open(io.BytesIO(row["picture"]["bytes"])).size == (32, 32)
        assert row["voice"] in VOICES and row["digit"] in range(10) and -15 <= row["snr_db"] <= 0
    again = spoken_digits(tmp_path, rows=24)
    assert again.table.equals(spoken.table)
    other = spoken_digits(tmp_path, rows=24, seed=1)
    assert not other.table.equals(spoken.table) and other.path != again.path


def test_spoken_digits_noise_is_as_asked(tmp_path):
    pytest.importorskip("espeakng_loader")
    quiet = spoken_digits(tmp_path, rows=2, picture_noise=0.0, snr=(60.0, 61.0))
    samples, _ = soundfile.read(io.BytesIO(quiet.table["sound"][0].as_py()["bytes"]))
    assert np.sqrt(np.mean(samples[:700] ** 2)) < 0.01 * np.abs(samples).max()  # the pause before the word
    from sklearn.datasets import load_digits

    digits = load_digits()
    picture = np.asarray(Image.open(io.BytesIO(quiet.table["picture"][0].as_py()["bytes"])))[::4, ::4]
    same = np.abs(255 * (1 - digits.images / 16) - picture).max((1, 2)) < 0.51
    assert digits.target[np.flatnonzero(same)[0]] == quiet.table["digit"][0].as_py()


@pytest.mark.real
def test_the_real_emoji(tmp_path):
    source, schema = opened("emoji", tmp_path)
    assert len(source) == 1906 and len(schema.classes) == 9
    assert len(BUNDLED["emoji-ask"](tmp_path)) == 3 * 1906


def test_emoji_names(emoji_asset, tmp_path):
    source = open_source(DataRecipe(source="emoji-names"), tmp_path / "cache")
    assert source.defaults["languages"] == ["en", "de"]
    assert source.table["en"].to_pylist()[:2] == ["thing 0", "thing 1"] and source.table["de"].null_count == 20
    assert source.defaults["group_by"] == "concept" and source.defaults["target"] == "de"


@pytest.mark.real
def test_real_emoji_names(tmp_path):
    source = BUNDLED["emoji-names"](tmp_path)
    tags = source.defaults["languages"]
    assert len(source) == 1906 and len(tags) == 26 and tags[:2] == ["en", "de"] and "zh-hant" in tags
    assert not any(source.table[tag].null_count for tag in tags)
    recipe = DataRecipe(source="emoji-names")
    found = split(source, infer_schema(source, recipe), recipe.split, np.arange(len(source)))
    concepts = np.array(source.table["concept"].to_pylist())
    assert not set(concepts[found.test]) & (set(concepts[found.train]) | set(concepts[found.validation]))
    assert len(found.test) > 300
