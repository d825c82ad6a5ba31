"""Every fusion, task, way of adapting, kind of part and kind of source: two steps, saved, loaded, same answers."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

import sensorium
from sensorium.evaluation.schema import validated
from sensorium.recipe import Recipe
from sensorium.training.progress import make_progress
from tests.end_to_end.commands import done, tiny
from tests.small_data import COLOURS, picture, tone

STEPS = {"training.max_steps": 2, "evaluation.baselines": False}


def learn(data: str | list[str], target: str | None, folder: Path, settings: dict[str, Any]) -> Any:
    raw = {"data": {"source": data, "target": target}, "output": str(folder)}
    overrides = [f"{key}={value}" for key, value in settings.items()]
    return sensorium.fit(Recipe.parse(raw, overrides=overrides), progress=make_progress(quiet=True))


def fits_and_answers_alike(data: Path | list[str], target: str | None, folder: Path, settings: dict[str, Any]) -> Any:
    """Two steps; what the loaded model answers to the test rows is what the trained one answered."""
    source = [str(item) for item in data] if isinstance(data, list) else str(data)
    result = learn(source, target, folder, settings | {k: v for k, v in STEPS.items() if k not in settings})
    validated(result.metrics)
    model = sensorium.load(folder)
    from sensorium.data.sources import open_source

    opened = open_source(model.recipe.data, folder / "tables")
    expected = pq.read_table(folder / "predictions.parquet")
    again = model.answer(opened, expected.column("row").to_numpy())
    assert [str(p) for p in again.predictions] == expected.column("after").to_pylist()
    told = expected.column("log_likelihood_after").to_pylist()
    for value, before in zip(again.likelihoods, told, strict=True):
        assert (before is None and value != value) or value == pytest.approx(before, abs=1e-4)
    history = json.loads((folder / "history.json").read_text())
    assert history["steps"] == settings.get("training.max_steps", 2)
    assert all(math.isfinite(loss) for _, loss in history["losses"])
    return result


CLASSIFY: dict[str, dict[str, Any]] = {
    "tokens": {},
    "tokens late": {"model.fusion.from_layer": 2, "model.adapt.layers": 2},
    "tokens into the last layer": {"model.fusion.from_layer": 3, "model.adapt": "frozen"},
    "cross_attention": {"model.fusion.kind": "cross_attention"},
    "cross_attention late": {
        "model.fusion.kind": "cross_attention", "model.fusion.from_layer": 1, "model.fusion.every": 2,
        "model.adapt.layers": 2,
    },
    "concat": {"model.fusion.kind": "concat"},
    "weighted": {"model.fusion.kind": "weighted", "model.adapt": "frozen"},
    "attention": {"model.fusion.kind": "attention", "model.adapt": "frozen"},
    "attention, text encoder": {"model.fusion.kind": "attention", "model.adapt": "frozen", "model.text": "bert"},
    "tokens, text encoder": {"model.text": "bert"},
    "full": {"model.adapt": "full", "training.learning_rate": 1e-3},
    "full, last half, late": {"model.adapt.method": "full", "model.adapt.layers": "last_half", "model.fusion.from_layer": 2},
    "prefix": {"model.adapt.method": "prefix", "model.adapt.virtual_tokens": 3},
    "gpt2": {"model.backbone": "gpt2"},
    "gpt2, concat": {"model.backbone": "gpt2", "model.fusion.kind": "concat"},
    "wav2vec2": {"model.audio": "wav2vec2"},
    "tuned encoders": {"model.tune_encoders": True, "training.cache_features": False},
    "augmented, read by workers": {"training.augment": True, "training.cache_features": False, "training.workers": 1},
    "everything withheld at times": {"model.modality_dropout": 0.5, "model.feature_dropout": 0.5},
    "balanced, smoothed, accumulated": {
        "training.class_weights": "balanced", "training.label_smoothing": 0.1, "training.micro_batch_size": 2,
    },
    "no cache": {"training.cache_features": False},
    "no room for a cache": {"training.cache_gigabytes": 0, "training.max_steps": 12},
    "bf16, eager": {"training.precision": "bf16", "training.attention": "eager"},
    "in a time": {"training.max_minutes": 0.5},
    "no validation": {"data.split.validation": 0},
    "stratified": {"data.split.stratify": True},
    "a few rows": {"data.max_rows": 30},
}  # fmt: skip

GENERATE: dict[str, dict[str, Any]] = {
    "tokens": {},
    "tokens late": {"model.fusion.from_layer": 2, "model.adapt.layers": 2},
    "rows apart": {"training.share_media": False},
    "cross_attention": {"model.fusion.kind": "cross_attention"},
    "cross_attention late": {"model.fusion.kind": "cross_attention", "model.fusion.from_layer": 2, "model.adapt.layers": 1},
    "text encoder": {"model.text": "bert"},
    "gpt2 without a chat template": {"model.backbone": "gpt2"},
    "gpt2 late": {"model.backbone": "gpt2", "model.fusion.from_layer": 1, "model.adapt.layers": 2},
    "frozen": {"model.adapt": "frozen"},
    "full": {"model.adapt": "full"},
    "dora": {"model.adapt": "dora"},
    "rslora": {"model.adapt": "rslora"},
    "pissa": {"model.adapt": "pissa"},
    "ia3": {"model.adapt": "ia3"},
    "vera": {"model.adapt": "vera"},
    "oft": {"model.adapt": "oft"},
    "prefix": {"model.adapt": "prefix"},
    "prompt": {"model.adapt": "prompt"},
    "p_tuning": {"model.adapt": "p_tuning"},
    "bf16": {"training.precision": "bf16"},
    "no choices": {"evaluation.max_choices": 2},
}  # fmt: skip


def settings_of(parts: dict[str, Path], case: dict[str, Any]) -> dict[str, Any]:
    """A case with its parts' names as folders."""
    named = {key: parts[value] if isinstance(value, str) and value in parts else value for key, value in case.items()}
    merged = tiny(parts) | named
    short = {key for key in named if key in ("model.adapt",)}
    return {
        key: value for key, value in merged.items() if key in short or not any(key.startswith(f"{s}.") for s in short)
    }


@pytest.mark.parametrize("case", CLASSIFY)
def test_classify(case: str, parts: dict[str, Path], mixed: Path, tmp_path: Path) -> None:
    fits_and_answers_alike(mixed, "y", tmp_path / "run", settings_of(parts, CLASSIFY[case]))


@pytest.mark.parametrize("case", GENERATE)
def test_generate(case: str, parts: dict[str, Path], questions: Path, tmp_path: Path) -> None:
    fits_and_answers_alike(questions, "answer", tmp_path / "run", settings_of(parts, GENERATE[case]))


@pytest.mark.parametrize("fusion", ["tokens", "cross_attention", "concat", "weighted", "attention"])
def test_regress(fusion: str, parts: dict[str, Path], mixed: Path, tmp_path: Path) -> None:
    result = fits_and_answers_alike(mixed, "size", tmp_path / "run", tiny(parts, model__fusion__kind=fusion))
    assert result.metrics["kind"] == "number" and "mae" in result.metrics["after"]


@pytest.mark.parametrize("fusion", ["concat", "weighted", "attention"])
def test_late_fusions_cannot_write(fusion: str, parts: dict[str, Path], questions: Path, tmp_path: Path) -> None:
    with pytest.raises(sensorium.SensoriumError, match="cannot generate text; use tokens or cross_attention"):
        learn(str(questions), "answer", tmp_path / "run", tiny(parts, model__fusion__kind=fusion))


# -- sources ---------------------------------------------------------------------------------------


def folder_of(root: Path, kind: str, each: int = 12) -> Path:
    """``root/COLOUR/N.png`` (or .wav)."""
    rng = np.random.default_rng(0)
    for colour in COLOURS:
        (root / colour).mkdir(parents=True)
        for i in range(each):
            data = picture(colour, rng) if kind == "png" else tone(colour, rng)
            (root / colour / f"{i}.{kind}").write_bytes(data)
    return root


def chats(folder: Path, count: int = 20) -> Path:
    """Chats in OpenAI's form with pictures and sounds in some of them."""
    folder_of(folder / "png", "png", each=8), folder_of(folder / "wav", "wav", each=8)
    lines = []
    for i in range(count):
        colour = list(COLOURS)[i % 3]
        parts: list[dict[str, Any]] = [{"type": "text", "text": f"what is number {i}?"}]
        if i % 2:
            parts.append({"type": "image_url", "image_url": {"url": f"png/{colour}/{i % 8}.png"}})
        if i % 4 == 0:
            parts.append({"type": "input_audio", "input_audio": {"data": f"wav/{colour}/{i % 8}.wav", "format": "wav"}})
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
        lines.append({"messages": [*turns, {"role": "assistant", "content": colour}]})
    path = folder / "chats.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_folder_of_pictures(parts: dict[str, Path], tmp_path: Path) -> None:
    result = fits_and_answers_alike(folder_of(tmp_path / "pictures", "png"), None, tmp_path / "run", tiny(parts))
    assert result.metrics["task"] == "classify"


def test_folder_of_sounds(parts: dict[str, Path], tmp_path: Path) -> None:
    fits_and_answers_alike(folder_of(tmp_path / "sounds", "wav"), None, tmp_path / "run", tiny(parts))


@pytest.mark.parametrize("fusion", ["tokens", "cross_attention"])
def test_chats(fusion: str, parts: dict[str, Path], tmp_path: Path) -> None:
    data = chats(tmp_path)
    result = fits_and_answers_alike(data, None, tmp_path / "run", tiny(parts, model__fusion__kind=fusion))
    assert result.metrics["task"] == "generate" and result.metrics["kind"] == "text"
    asked = [{"messages": [{"role": "user", "content": f"what is number {i}?"}]} for i in range(2)]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in asked))
    done("predict", tmp_path / "run", "--data", tmp_path / "asked.jsonl", "--out", tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and all(line["problem"] is None for line in lines), "a chat to answer needs no answer"


def test_parallel_text(parts: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "t.en").write_text("".join(f"a house number {i}\n" for i in range(30)), encoding="utf-8")
    (tmp_path / "t.de").write_text("".join(f"ein Haus Nummer {i}\n" for i in range(30)), encoding="utf-8")
    both = [str(tmp_path / "t.en"), str(tmp_path / "t.de")]
    result = fits_and_answers_alike(both, None, tmp_path / "run", tiny(parts))
    assert result.metrics["task"] == "generate"


def test_parquet_with_pictures_inside(parts: dict[str, Path], mixed: Path, tmp_path: Path) -> None:
    import pandas as pd

    table = pd.read_csv(mixed)
    table["picture"] = [(mixed.parent / path).read_bytes() for path in table["picture"]]
    table["seen"] = pd.date_range("2024-01-01", periods=len(table), freq="7h")
    table["where"] = [f"{50 + i / 10:.2f}, {4 + i / 10:.2f}" for i in range(len(table))]
    table.drop(columns=["sound"]).to_parquet(tmp_path / "t.parquet")
    settings = tiny(parts) | {"data.split.by_time": "seen"}
    fits_and_answers_alike(tmp_path / "t.parquet", "y", tmp_path / "run", settings)
    schema = json.loads((tmp_path / "run/schema.json").read_text())
    assert schema["inputs"] == {
        "picture": "image", "words": "text", "size": "number", "shop": "category", "seen": "time", "where": "place",
    }  # fmt: skip


def test_a_given_split(parts: dict[str, Path], tmp_path: Path) -> None:
    parted = {0: "train", 1: "train", 2: "dev", 3: "test"}
    lines = [
        f"a {'warm' if i % 2 else 'cold'} thing {i},{parted[i // 2 % 4]},{'yes' if i % 2 else 'no'}" for i in range(48)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["words,part,label", *lines]) + "\n", encoding="utf-8")
    fits_and_answers_alike(tmp_path / "t.csv", "label", tmp_path / "run", tiny(parts) | {"data.split.column": "part"})
    rows = pq.read_table(tmp_path / "run/predictions.parquet").column("row").to_pylist()
    assert rows == [i for i in range(48) if i // 2 % 4 == 3]


COLUMNS = ["my.photo,items,type,table,gpt", "Фото ё,a b,train,forward,%2E"]


@pytest.mark.parametrize("names", COLUMNS)
@pytest.mark.parametrize("fusion", ["tokens", "attention"])
def test_columns_of_any_name(fusion: str, names: str, parts: dict[str, Path], mixed: Path, tmp_path: Path) -> None:
    """Names that torch, or the model itself, uses for something of its own."""
    header = f"{names},label"
    text = mixed.read_text(encoding="utf-8").splitlines()
    shutil.copytree(mixed.parent / "media", tmp_path / "media")
    (tmp_path / "t.csv").write_text("\n".join([header, *text[1:]]) + "\n", encoding="utf-8")
    settings = tiny(parts, model__fusion__kind=fusion, model__text=parts["bert"])
    fits_and_answers_alike(tmp_path / "t.csv", "label", tmp_path / "run", settings)


@pytest.mark.parametrize("name", ["table", "gpt"])
def test_a_picture_may_not_take_the_models_own_names(
    name: str, parts: dict[str, Path], mixed: Path, tmp_path: Path
) -> None:
    text = mixed.read_text(encoding="utf-8").replace("picture", name, 1)
    shutil.copytree(mixed.parent / "media", tmp_path / "media")
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(sensorium.SensoriumError, match=f"column {name}: .*; rename it"):
        learn(str(tmp_path / "t.csv"), "y", tmp_path / "run", tiny(parts))


def test_a_recipe_that_trains_nothing_of_the_gpt_leaves_its_bits_alone(
    parts: dict[str, Path], mixed: Path, tmp_path: Path
) -> None:
    learn(str(mixed), "y", tmp_path / "run", settings_of(parts, CLASSIFY["attention"]) | STEPS)
    saved = load_file(tmp_path / "run/model/backbone/model.safetensors")
    given = load_file(parts["llama"] / "model.safetensors")
    assert saved.keys() == given.keys() and all((saved[name] == given[name]).all() for name in given)


# -- a small real job must learn -------------------------------------------------------------------


def losses(folder: Path) -> list[float]:
    return [loss for _, loss in json.loads((folder / "history.json").read_text())["losses"]]


LEARN: dict[str, Any] = {
    "training.batch_size": 4, "training.learning_rate": 0.01, "training.warmup": 0.02, "training.weight_decay": 0,
    "training.patience": "null", "model.feature_dropout": 0, "evaluation.baselines": False,
    "data.split.validation": 0, "data.split.test": 0.2,
}  # fmt: skip


@pytest.mark.parametrize("fusion", ["tokens", "attention"])
def test_twelve_rows_are_learnt_by_heart(fusion: str, parts: dict[str, Path], mixed: Path, tmp_path: Path) -> None:
    shutil.copytree(mixed.parent / "media", tmp_path / "media")
    lines = mixed.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "t.csv").write_text("".join(lines[:16]), encoding="utf-8")
    settings = tiny(parts) | LEARN | {"training.epochs": 25, "model.fusion.kind": fusion}
    learn(str(tmp_path / "t.csv"), "y", tmp_path / "run", settings)
    assert losses(tmp_path / "run")[-1] < 0.05 < 0.5 < losses(tmp_path / "run")[0]


@pytest.mark.parametrize("fusion", ["tokens", "cross_attention"])
def test_twelve_answers_are_learnt_by_heart(
    fusion: str, parts: dict[str, Path], questions: Path, tmp_path: Path
) -> None:
    shutil.copytree(questions.parent / "media", tmp_path / "media")
    lines = questions.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "ask.jsonl").write_text("".join(lines[:16]), encoding="utf-8")
    settings = tiny(parts) | LEARN | {"training.epochs": 40, "model.fusion.kind": fusion}
    settings |= {"model.adapt.method": "full", "model.adapt.layers": "all"}  # a random GPT has to learn to speak
    learn(str(tmp_path / "ask.jsonl"), "answer", tmp_path / "run", settings)
    assert losses(tmp_path / "run")[-1] < 0.05 < 2 < losses(tmp_path / "run")[0]


def test_held_out_rows_are_told_better_than_by_the_majority(
    parts: dict[str, Path], mixed: Path, tmp_path: Path
) -> None:
    settings = tiny(parts) | LEARN | {"training.epochs": 12, "model.fusion.kind": "concat", "model.adapt": "frozen"}
    settings |= {"evaluation.baselines": True, "data.split.stratify": True, "data.split.test": 0.3}
    settings = {key: value for key, value in settings.items() if not key.startswith("model.adapt.")}
    metrics = learn(str(mixed), "y", tmp_path / "run", settings).metrics
    majority = metrics["baselines"]["majority"]["accuracy"]["value"]
    assert metrics["after"]["accuracy"]["value"] >= 0.9 > majority + 0.3
    assert metrics["difference"]["accuracy"]["p"] < 0.05
