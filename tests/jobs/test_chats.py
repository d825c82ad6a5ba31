"""Jobs on chats: caches change no answer, cells and columns beside chats are used, a copied run answers."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sensorium
from sensorium.errors import DataError, RecipeError
from sensorium.jobs.chats import ChatFeatures, chat_characters
from sensorium.jobs.features import encoder_features, row_summary, summaries, trunk_of
from sensorium.jobs.feed import Feed
from sensorium.jobs.inspect import show_example
from sensorium.jobs.job import build_task
from sensorium.jobs.parts import build
from sensorium.jobs.prepare import described, prepare
from sensorium.models import recogniser as recognising
from sensorium.models.initialise import fit_projectors
from sensorium.models.recogniser import FOLDER
from sensorium.recipe import Recipe
from sensorium.training.progress import make_progress
from tests.small_data import COLOURS, picture, tone
from tests.tiny_models import part, stir

QUIET = make_progress(quiet=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """Two exchanges a chat about a square, the second by voice; beside them a kind, an hour and a place."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(24):
        colour, other = list(COLOURS)[i % 3], list(COLOURS)[(i + i // 3) % 3]
        image = base64.b64encode(picture(colour, rng, 16)).decode()
        sound = base64.b64encode(tone(other, rng)).decode()
        shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
        spoken = {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}
        turns: list[dict[str, Any]] = [
            {"role": "user", "content": [shown, {"type": "text", "text": "which colour?"}]},
            {"role": "assistant", "content": colour},
            {"role": "user", "content": [spoken] if i % 2 else "and again?"},
            {"role": "assistant", "content": other},
        ]
        part_ = "test" if i % 4 == 0 else "train"
        kind = "spoken" if i % 2 or i == 4 else "typed"
        lines.append({"messages": turns, "kind": kind, "hour": 10 + i, "place": f"52.{i}, 4.3", "part": part_})
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def raw(path: Path, **model: Any) -> dict[str, Any]:
    return {
        "task": "generate",
        "data": {"source": str(path), "format": "chat", "split": {"column": "part"}},
        "model": {
            "backbone": str(part("llama")),
            "image": str(part("vit")),
            "audio": str(part("whisper")),
            "image_size": 32,
            "fusion": {"kind": "tokens", "tokens": 4, "from_layer": 2},
            "adapt": {"method": "lora", "layers": 2, "rank": 4},
            **model,
        },
        "training": {"precision": "fp32", "attention": "sdpa", "batch_size": 4, "max_steps": 2},
        "evaluation": {"batch_size": 4, "max_new_tokens": 4, "bootstrap": 100},
        "tracking": [],
    }


def hearing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny Whisper with a folder that only looks like CTranslate2's; what it hears follows from a sound's loudness."""
    folder = tmp_path / "whisper"
    shutil.copytree(part("whisper"), folder)
    (folder / FOLDER).mkdir()
    for name in recognising.NEEDED:
        (folder / FOLDER / name).write_bytes(b"weights")
    monkeypatch.setattr(recognising, "_load", lambda folder: None)
    monkeypatch.setattr(recognising, "_said", lambda model, mel: f"heard {int(np.argmax(mel.mean(1)))}")
    return folder


@pytest.mark.parametrize("fusion", [{"kind": "tokens", "from_layer": 2}, {"kind": "cross_attention", "from_layer": 1}])
@pytest.mark.parametrize("speech", ["features", "recognition", "both"])
def test_answers_are_the_same_with_and_without_caches(
    fusion: dict, speech: str, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = hearing(tmp_path, monkeypatch)
    recipe = Recipe.parse(raw(talks, audio=str(audio), speech=speech, fusion={"tokens": 4, **fusion}))
    prepared = prepare(recipe, QUIET)
    recipe = described(recipe, prepared.schema)
    parts = build(recipe, prepared)
    stir(parts.model, 0.3)
    rows = np.arange(len(prepared.source))
    plain, cached = (Feed(prepared.rows, parts.processor, 4) for _ in range(2))
    # half of the chats are known beforehand, the others come as strangers
    cached.cached = encoder_features(parts, prepared, recipe, rows[::2], tmp_path / "features", QUIET, QUIET)
    assert sorted(cached.cached) == ["image_url", *([] if speech == "recognition" else ["input_audio"])]
    fit_projectors(parts.model, summaries(cached.cached, rows[::2]))
    cached.trunk = trunk_of(parts, cached, cached.groups(rows[::2].tolist()), recipe, tmp_path, QUIET, QUIET)
    assert cached.trunk is not None
    task = build_task(recipe, prepared, parts)
    one, other = (task.predict(parts.model, feed, rows.tolist()) for feed in (plain, cached))
    assert one.predictions == other.predictions
    np.testing.assert_allclose(one.likelihoods, other.likelihoods, atol=2e-4)
    with torch.no_grad():
        groups = plain.groups(rows.tolist())
        losses = [[float(task.loss(parts.model, b).total) for b in feed.batches(groups)] for feed in (plain, cached)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4, atol=1e-4)


def test_equal_content_is_encoded_once_and_a_row_is_summed_up(talks: Path, tmp_path: Path) -> None:
    lines = talks.read_text().splitlines()
    talks.write_text("".join(line + "\n" for line in [*lines, lines[0]]))
    recipe = Recipe.parse(raw(talks))
    prepared = prepare(recipe, QUIET)
    parts = build(recipe, prepared)
    found = encoder_features(parts, prepared, recipe, np.arange(25), tmp_path / "features", QUIET, QUIET)
    pictures = found["image_url"]
    assert isinstance(pictures, ChatFeatures) and len(pictures.features) == 24
    assert torch.equal(pictures.of_row(0)[0], pictures.of_row(24)[0])
    assert row_summary(found["input_audio"], 0) is None and row_summary(found["input_audio"], 1) is not None
    assert torch.equal(row_summary(pictures, 3), pictures.of_row(3)[0][0])  # type: ignore[arg-type]


def test_lengths_are_of_what_is_read_and_not_of_the_base64(talks: Path) -> None:
    recipe = Recipe.parse(raw(talks))
    prepared = prepare(recipe, QUIET)
    processor = build(recipe, prepared).processor
    rows = np.arange(24)
    tokens = np.array([len(processor.sequence([prepared.rows[i]]).ids) for i in rows])
    estimated = chat_characters(prepared, processor, rows) / 4
    assert (np.abs(estimated - tokens) < 0.5 * tokens).all()


def test_a_run_on_chats_is_reported_by_what_stands_beside_them_and_answers_where_it_is_copied_to(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = hearing(tmp_path, monkeypatch)
    given = raw(talks, audio=str(audio), speech="recognition")
    given["data"]["inputs"] = {"hour": "number", "place": "place"}
    given["output"] = str(tmp_path / "run")
    result = sensorium.fit(Recipe.parse(given), progress=QUIET)
    assert set(result.metrics["by"]["kind"]) == {"spoken", "typed"}
    assert {"majority", "linear_probe"} <= set(result.metrics["baselines"])
    shutil.copytree(result.folder, tmp_path / "elsewhere")
    shutil.rmtree(result.folder)
    shutil.rmtree(audio)
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "nothing"))
    model = sensorium.load(tmp_path / "elsewhere")
    line = json.loads(talks.read_text().splitlines()[1])
    row = {**line, "messages": json.dumps(line["messages"])}
    assert model.predict([row]) == model.predict([row]) and isinstance(model.predict([row])[0], str)
    assert model.predict([{"messages": row["messages"]}])  # without the cells
    assert isinstance(model.chat(line["messages"][:-1], max_new_tokens=2), str)
    assert not (tmp_path / "nothing" / "transcripts.sqlite").exists()


def test_the_example_shown_has_every_answer_supervised(talks: Path) -> None:
    from rich.console import Console

    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(show_example(Recipe.parse(raw(talks)), 1))
    text = console.export_text()
    assert text.count("yes") == 2 and "[image_url:" in text and "[input_audio:" in text


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"hours": "number"}, "there is no column hours.*did you mean hour"),
        ({"kind": "number"}, "no cell is a number"),
        ({"kind": "image"}, "image columns are not read beside a chat.*put pictures and sounds into the turns"),
    ],
)
def test_cells_that_cannot_be_told_are_refused(inputs: dict, said: str, talks: Path) -> None:
    given = raw(talks)
    given["data"]["inputs"] = inputs
    with pytest.raises(DataError, match=said):
        prepare(Recipe.parse(given), QUIET)


def test_speech_without_a_recogniser_is_refused_in_one_line(talks: Path) -> None:
    recipe = Recipe.parse(raw(talks, speech="recognition"))
    prepared = prepare(recipe, QUIET)
    with pytest.raises(RecipeError, match=r"model\.audio.*no model\.bin.*set model\.speech: features"):
        build(recipe, prepared)
