"""A recipe: defaults, overrides, near keys, parts that cannot be combined, and the round trip through YAML."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import RecipeError
from sensorium.recipe import LATE_FUSIONS, Recipe

SMALL: dict[str, Any] = {"data": {"source": "t.csv", "target": "y"}}


def parse(raw: dict[str, Any] | None = None, *overrides: str) -> Recipe:
    return Recipe.parse(yaml.safe_load(yaml.safe_dump(raw or SMALL)), overrides=list(overrides))


# -- defaults and forms ----------------------------------------------------------------------------


def test_a_source_is_all_that_a_recipe_needs() -> None:
    recipe = Recipe.parse({"data": {"source": "t.csv"}})
    assert recipe.task == "auto"
    assert recipe.model.fusion.kind == "tokens"
    assert recipe.model.adapt.method == "lora"
    assert recipe.tracking == ["tensorboard"]


def test_short_and_long_forms_are_one() -> None:
    short = parse({**SMALL, "model": {"fusion": "cross_attention", "adapt": "dora"}})
    long = parse({**SMALL, "model": {"fusion": {"kind": "cross_attention"}, "adapt": {"method": "dora"}}})
    assert short == long


def test_defaults_are_not_shared_between_recipes() -> None:
    one, other = parse(), parse()
    one.tracking.append("wandb")
    one.training.epochs = 99
    assert other.tracking == ["tensorboard"]
    assert other.training.epochs != 99


def test_assignment_is_checked() -> None:
    recipe = parse()
    with pytest.raises(ValueError, match="greater than 0"):
        recipe.training.epochs = -1


# -- overrides -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("training.epochs=1", "training.epochs", 1),
        ("training.learning_rate=5e-4", "training.learning_rate", 5e-4),
        ("training.patience=null", "training.patience", None),
        ("training.augment=false", "training.augment", False),
        ("model.fusion=concat", "model.fusion.kind", "concat"),
        ("model.fusion.from_layer=20", "model.fusion.from_layer", 20),
        ("model.adapt.layers=last_third", "model.adapt.layers", "last_third"),
        ("model.adapt.layers=10", "model.adapt.layers", 10),
        ("data.inputs={picture: image, zip: category}", "data.inputs", {"picture": "image", "zip": "category"}),
        ("data.split.group_by=concept", "data.split.group_by", "concept"),
        ("data.source=[a.en, a.de]", "data.source", ["a.en", "a.de"]),
        ("tracking=[]", "tracking", []),
        ("output=runs/a=b", "output", "runs/a=b"),
    ],
)
def test_an_override_sets_one_value(override: str, path: str, value: object) -> None:
    found: Any = parse(None, override)
    for key in path.split("."):
        found = getattr(found, key)
    assert found == value
    changed = [line.split(":")[0] for line in parse().difference(parse(None, override))]
    assert all(key == path or key.startswith(path + ".") or path.startswith(key) for key in changed)


def test_an_override_of_a_part_in_its_short_form_keeps_the_form() -> None:
    recipe = parse({**SMALL, "model": {"fusion": "cross_attention"}}, "model.fusion.from_layer=3")
    assert (recipe.model.fusion.kind, recipe.model.fusion.from_layer) == ("cross_attention", 3)


def test_a_later_override_wins() -> None:
    assert parse(None, "training.epochs=1", "training.epochs=2").training.epochs == 2


@pytest.mark.parametrize("override", ["training.epochs", "=3", "", "   =3", "training", "é"])
def test_an_override_that_is_none_shows_how(override: str) -> None:
    with pytest.raises(RecipeError, match=r"--set: .* is not key=value; write for example --set training.epochs=1"):
        parse(None, override)


# -- what is wrong, in one line --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({**SMALL, "trainig": {}}, r"unknown key trainig; did you mean training\?"),
        ({**SMALL, "training": {"epoch": 1}}, r"unknown key training.epoch; did you mean epochs\?"),
        ({**SMALL, "training": {"learningrate": 1}}, r"did you mean learning_rate\?"),
        ({**SMALL, "model": {"fusion": {"kind": "tokens", "form_layer": 2}}}, r"did you mean from_layer\?"),
        ({"data": {"source": "t.csv", "split": {"tset": 0.1}}}, r"unknown key data.split.tset; did you mean test\?"),
        ({**SMALL, "zzz": 1}, r"unknown key zzz; known keys: task, data"),
        ({}, r"data is missing; add data: …"),
        ({"data": {}}, r"data.source is missing"),
        ({"data": {"source": " "}}, r"data.source: names nothing"),
        ({"data": {"source": ["a.csv", ""]}}, r"data.source: names nothing"),
        ({"data": "t.csv"}, r"data: .*dictionary"),
        ({**SMALL, "task": "clasify"}, r"task: .*'classify'.*\(given: \"clasify\"\)"),
        ({**SMALL, "training": {"epochs": 0}}, r"training.epochs: .*greater than 0 \(given: 0\)"),
        ({**SMALL, "training": {"epochs": "many"}}, r"training.epochs: .*number"),
        ({**SMALL, "training": {"batch_size": 2.5}}, r"training.batch_size: .*integer"),
        ({**SMALL, "training": {"seed": -1}}, r"training.seed"),
        ({**SMALL, "model": {"adapt": "lorra"}}, r"model.adapt.*'lora'"),
        ({**SMALL, "model": {"adapt": {"layers": "last_quarter"}}}, r"model.adapt.layers"),
        ({**SMALL, "model": {"image_size": 4}}, r"model.image_size: .*16"),
        ({"data": {"source": "t", "inputs": {"a": "picture"}}}, r"data.inputs.a: .*'image'"),
        ({"data": {"source": "t", "split": {"validation": 0.5, "test": 0.5}}}, r"leave no rows to train on"),
        ({"data": {"source": "t", "split": {"group_by": "a", "by_time": "b"}}}, r"exclude each other; keep one"),
        ({**SMALL, "training": {"augment": True}}, r"set training.cache_features: false"),
        ({**SMALL, "model": {"tune_encoders": True}}, r"set training.cache_features: false"),
        ({**SMALL, "training": {"batch_size": 16, "micro_batch_size": 5}}, r"multiple of training.micro_batch_size"),
        ({**SMALL, "model": {"adapt": "prefix", "fusion": {"from_layer": 2}}}, r"prefix and fusion.from_layer exclude"),
        ({**SMALL, "tracking": ["mlflow"]}, r"tracking"),
        ({**SMALL, "data": {"source": "t", "max_rows": 0}}, r"data.max_rows"),
    ],
)
def test_one_line_names_the_key_and_the_mend(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        Recipe.parse(raw, where="r.yaml")
    assert str(caught.value).startswith("r.yaml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.audio=null"], "needs a recogniser; set model.audio: whisper-tiny.en"),
        (["task=classify"], "set model.speech: features, or task: generate"),
        (["training.augment=true", "training.cache_features=false"], "set training.augment: false"),
    ],
)
@pytest.mark.parametrize("speech", ["recognition", "both"])
def test_speech_in_words_is_refused_where_it_cannot_be(speech: str, overrides: list[str], said: str) -> None:
    assert parse(SMALL, f"model.speech={speech}").model.speech == speech
    with pytest.raises(RecipeError, match=said):
        parse(SMALL, f"model.speech={speech}", *overrides)


@pytest.mark.parametrize("kind", LATE_FUSIONS)
def test_a_late_fusion_cannot_generate(kind: str) -> None:
    with pytest.raises(RecipeError, match=f"fusion {kind} .* cannot generate text; use tokens or cross_attention"):
        parse({**SMALL, "task": "generate", "model": {"fusion": kind}})
    assert parse({**SMALL, "task": "classify", "model": {"fusion": kind}}).model.fusion.kind == kind


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a mapping"),
        (b"- a\n- b\n", "not a mapping"),
        (b"just words", "not a mapping"),
        (b"data: [", r"r.yaml:\d+: not valid YAML"),
        (b"data:\n  source: t.csv\n model: {}\n", r"r.yaml:3: not valid YAML"),
        (b"data: {source: \xff\xfe}", "not UTF-8"),
        (b"data: !!python/object/apply:os.system ['true']", "not valid YAML"),
        (b"[" * 5000, r"nested too deeply|not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=said):
        Recipe.load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(RecipeError, match="no such recipe file"):
            Recipe.load(path)


def test_a_file_and_its_overrides(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("data: {source: größe.csv}\ntraining: {epochs: 2}\n", encoding="utf-8")
    recipe = Recipe.load(path, overrides=["training.epochs=7"])
    assert (recipe.data.source, recipe.training.epochs) == ("größe.csv", 7)


# -- the round trip --------------------------------------------------------------------------------

names = st.text(string.ascii_letters + string.digits + "_ .:#-'\"äß漢", min_size=1, max_size=12).filter(
    str.strip  # blank names are refused, which a test of its own asserts
)
inputs = st.dictionaries(
    names, st.sampled_from(["text", "image", "audio", "number", "category", "time", "place"]), max_size=4
)
recipes = st.fixed_dictionaries(
    {"data": st.fixed_dictionaries({"source": names | st.lists(names, min_size=1, max_size=2)}, optional={
        "inputs": st.none() | inputs,
        "target": st.none() | names,
        "split": st.fixed_dictionaries({}, optional={
            "validation": st.floats(0, 0.4), "test": st.floats(0, 0.4), "group_by": names, "seed": st.integers(0, 2**31),
        }),
        "bad_rows": st.sampled_from(["quarantine", "stop"]),
    })},
    optional={
        "task": st.sampled_from(["auto", "classify"]),
        "output": st.none() | names,
        "tracking": st.lists(st.sampled_from(["tensorboard", "wandb"]), unique=True),
        "model": st.fixed_dictionaries({}, optional={
            "fusion": st.sampled_from(["tokens", "weighted"]) | st.fixed_dictionaries({"kind": st.just("cross_attention")}, optional={
                "every": st.integers(1, 5), "from_layer": st.integers(0, 30),
            }),
            "adapt": st.sampled_from(["lora", "full", "frozen"]),
            "text": st.none() | names,
        }),
        "training": st.fixed_dictionaries({}, optional={
            "epochs": st.floats(0.01, 100), "learning_rate": st.floats(1e-8, 1), "patience": st.none() | st.integers(1, 9),
            "seed": st.integers(0, 2**31), "max_minutes": st.none() | st.floats(0.1, 1000),
        }),
    },
)  # fmt: skip


@given(raw=recipes)
def test_dump_and_parse_are_inverse(raw: dict[str, Any]) -> None:
    recipe = Recipe.parse(raw)
    again = Recipe.parse(yaml.safe_load(recipe.dump()))
    assert again == recipe
    assert again.dump() == recipe.dump()
    assert recipe.difference(again) == []


@given(raw=recipes, epochs=st.floats(0.01, 100), seed=st.integers(0, 1000))
def test_an_override_survives_being_written_as_a_flag(raw: dict[str, Any], epochs: float, seed: int) -> None:
    recipe = Recipe.parse(raw, overrides=[f"training.epochs={epochs}", f"data.split.seed={seed}"])
    assert recipe.training.epochs == epochs
    assert recipe.data.split.seed == seed


def test_a_dump_holds_every_default() -> None:
    written = yaml.safe_load(parse().dump())
    assert set(written) == set(Recipe.model_fields)
    assert written["training"]["epochs"] == parse().training.epochs
    assert written["model"]["fusion"]["kind"] == "tokens"


def test_difference_shows_both_values() -> None:
    lines = parse().difference(parse(None, "training.epochs=9", "data.target=z"))
    assert lines == ["data.target: 'y' → 'z'", "training.epochs: 3.0 → 9.0"]
