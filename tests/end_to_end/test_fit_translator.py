"""``fit`` of a translator made from nothing: it learns, its files are whole, and no kill leaves a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sacrebleu
import yaml
from starlette.testclient import TestClient

import sensorium
from sensorium.errors import DataError, RunError
from sensorium.evaluation.schema import validated
from sensorium.jobs.translation.opened import open_translator
from sensorium.jobs.translation.serving import make_translation_parts
from sensorium.run import Run, sha256_file
from sensorium.serving.api import make_app
from sensorium.serving.engine.batching import EngineSettings
from sensorium.serving.settings import Settings
from sensorium.training.checkpoint import Checkpoints
from tests.end_to_end.commands import call, done, sets, tiny
from tests.end_to_end.toy_language import write_files, write_recipe


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learnt the toy."""
    folder = tmp_path_factory.mktemp("toy")
    done("fit", write_recipe(folder, "run", epochs=8, learning_rate=1e-2))
    return folder / "run"


def test_it_learns_and_says_so(taught: Path) -> None:
    metrics = Run(taught).metrics
    validated(metrics)
    assert metrics["after"]["bleu"]["value"] > 60 > 5 > metrics["before"]["bleu"]["value"]
    assert set(metrics["by"]["direction"]) == {"en-de", "de-en"}
    assert {"copy", "word for word"} <= set(metrics["baselines"])
    rows = pq.read_table(taught / "predictions.parquet").to_pydict()
    corpus = sacrebleu.corpus_bleu(rows["after"], [rows["target"]]).score
    assert metrics["after"]["bleu"]["value"] == pytest.approx(corpus, abs=1e-6)
    assert "over minutes" in (taught / "report.html").read_text()


def test_the_same_command_again_does_nothing(taught: Path) -> None:
    before = (taught / "metrics.json").stat().st_mtime_ns
    done("fit", taught.parent / "run.yaml")
    assert (taught / "metrics.json").stat().st_mtime_ns == before


def test_opened_it_translates_both_ways_in_order(taught: Path) -> None:
    opened = open_translator(taught)
    assert opened.directions == ["en-de", "de-en"] and sorted(opened.languages) == ["de", "en"]
    texts = ["one two three four five", "nine", "ten ten two one"]
    said = opened.translate(texts, "en", "de")
    assert said[0].startswith("eins zwei drei") and said[1:] != said[:-1]
    assert opened.translate(texts[::-1], "en", "de") == said[::-1]
    assert opened.translate(["eins zwei drei vier fünf"], "de", "en", beam=1)[0].startswith("one two three")
    assert opened.translate([], "en", "de") == []
    assert len(opened.translate(["", "</s> <2en>", "赤い"], "en", "de", beam=1)) == 3


def test_loaded_it_is_what_its_card_says(taught: Path) -> None:
    model = sensorium.load(taught)
    assert model.translate(["nine"], "en", "de") == open_translator(taught).translate(["nine"], "en", "de")
    card = (taught / "model" / "README.md").read_text(encoding="utf-8")
    assert "en into de, de into en" in card and 'model.translate(["…"], "en", "de")' in card
    assert "Loses to the word for word" in card and "2,400 train" in card and "## Parts" not in card


def test_unknown_directions_are_refused(taught: Path) -> None:
    with pytest.raises(DataError, match="en into fr was not learnt; directions: en-de, de-en"):
        open_translator(taught).translate(["one"], "en", "fr")


def test_what_the_test_part_said_before_equals_predictions_made_anew(taught: Path) -> None:
    rows = pq.read_table(taught / "predictions.parquet").to_pydict()
    places = [i for i, direction in enumerate(rows["direction"]) if direction == "en-de"]
    anew = open_translator(taught).translate([rows["source"][i] for i in places], "en", "de")
    assert anew == [rows["after"][i] for i in places]


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        open_translator(tmp_path)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("translation.directions=[en-fr]", "direction en-fr names no language of the data"),
        ("model.scratch.architecture=gpt2", "gpt2 from nothing does not translate"),
        ("model.scratch.vocabulary=260", "a vocabulary of 260 has no room for 256 bytes and 5 special tokens"),
        ("translation.directions=[en]", "'en' is no direction (given"),
        ("translation.picture=photo", "there is no column photo"),
        ("data.max_rows=1", "1 usable rows are too few for 3 parts"),
    ],
)
def test_bad_input_is_one_line(change: str, line: str, tmp_path: Path) -> None:
    said = call("fit", write_recipe(tmp_path, "run"), "--set", change)
    assert said.code == 2 and line in said.line


def command(path: Path) -> list[str]:
    return [sys.executable, "-m", "sensorium.cli.main", "fit", str(path)]


class Killed(BaseException):
    """Ends a process in mid-work as far as the run's folder can tell."""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_that_ended_in_mid_epoch_goes_on_bit_for_bit(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"epochs": 2, "checkpoint_every": 3, "precision": precision}
    done("fit", write_recipe(tmp_path, "whole", 100, **settings))
    cut, save, saved = write_recipe(tmp_path, "cut", 100, **settings), Checkpoints.save, []

    def save_and_end(self: Checkpoints, step: int, *parts: object) -> Path:
        path = save(self, step, *parts)  # type: ignore[arg-type]
        saved.append(step)
        if len(saved) == 2:
            raise Killed
        return path

    monkeypatch.setattr(Checkpoints, "save", save_and_end)
    with pytest.raises(Killed):
        call("fit", cut)
    monkeypatch.setattr(Checkpoints, "save", save)
    assert saved == [3, 6] and not Run(tmp_path / "cut").done("trained")
    done("fit", cut)
    one, other = Run(tmp_path / "whole"), Run(tmp_path / "cut")
    assert sha256_file(one.model / "model.safetensors") == sha256_file(other.model / "model.safetensors")
    assert one.metrics == other.metrics
    assert one.read_json("history.json")["losses"] == other.read_json("history.json")["losses"]


@pytest.mark.long
def test_a_killed_run_goes_on_and_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    settings = {"epochs": 3, "checkpoint_every": 3}
    subprocess.run(command(write_recipe(tmp_path, "whole", 150, **settings)), check=True, capture_output=True)
    killed = write_recipe(tmp_path, "killed", 150, **settings)
    process = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while len(list((tmp_path / "killed" / "checkpoints").glob("step-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not Run(tmp_path / "killed").done("reported")
    subprocess.run(command(killed), check=True, capture_output=True)
    one, other = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    assert sha256_file(one.model / "model.safetensors") == sha256_file(other.model / "model.safetensors")
    assert one.metrics == other.metrics
    assert one.read_json("history.json")["losses"] == other.read_json("history.json")["losses"]


def test_a_pretrained_gpt_learns_directions_by_a_tag(parts: dict[str, Path], tmp_path: Path) -> None:
    recipe = tmp_path / "gpt.yaml"
    raw = {
        "task": "generate",
        "data": {"source": write_files(tmp_path, 60), "format": "parallel"},
        "translation": {"directions": ["en-de", "de-en"]},
        "output": str(tmp_path / "gpt"),
    }
    recipe.write_text(yaml.safe_dump(raw))
    settings = tiny(parts, training__max_steps=3, model__adapt__layers=2, model__fusion__from_layer=0)
    done("fit", recipe, *sets(settings))
    rows = pq.read_table(tmp_path / "gpt" / "predictions.parquet").to_pydict()
    assert len(rows["row"]) == 48  # 24 test pairs, both ways
    metrics = Run(tmp_path / "gpt").metrics
    validated(metrics)
    assert set(metrics["by"]["direction"]) == {"en-de", "de-en"} and metrics["baselines"]["word for word"]["bleu"]
    assert rows["source"][0] in (tmp_path / f"test.{rows['direction'][0][:2]}").read_text()
    assert (tmp_path / "gpt" / "report.html").stat().st_size > 1000
    opened = sensorium.load(tmp_path / "gpt")
    assert sorted(opened.directions) == ["de-en", "en-de"]
    said = opened.translate(["one two", "three"], "en", "de")
    assert len(said) == 2 and opened.translate(["three", "one two"], "en", "de") == said[::-1]
    with pytest.raises(DataError, match="en into fr was not learnt"):
        opened.translate(["one"], "en", "fr")
    assert opened.tokens(["one two"])[0] < opened.most_tokens
    assert done("translate", tmp_path / "gpt", "--from", "en", "--to", "de", "one two").out.strip() == said[0]
    client = TestClient(make_app(make_translation_parts(opened, EngineSettings()), Settings(hosts=("testserver",))))
    body = {"model": "sensorium", "input": ["one two", "three"], "from": "en", "to": "de"}
    assert [one["text"] for one in client.post("/v1/translate", json=body).json()["data"]] == said
    refused = client.post("/v1/translate", json=body | {"to": "fr"})
    assert refused.status_code == 400 and "de" in refused.json()["error"]["message"]
    chat = {"model": "sensorium", "messages": [{"role": "user", "content": "one two"}], "max_tokens": 4}
    assert client.post("/v1/chat/completions", json=chat).json()["usage"]["completion_tokens"] <= 4
