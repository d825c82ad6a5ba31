"""Killed at any moment, interrupted or damaged: the same command ends with the bits of an undisturbed run."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import sensorium
from sensorium.run import Run
from sensorium.training.checkpoint import Checkpoints
from tests.end_to_end.commands import Said, command, done, environment, sets, tiny

SETTINGS = {
    "training__epochs": 3,
    "training__checkpoint_every": 1,
    "training__patience": "null",
    "model__feature_dropout": 0.2,
    "model__adapt__dropout": 0.1,
    "model__adapt__layers": 2,
    "model__fusion__from_layer": 2,
    "data__split__validation": 0.2,
}
WEIGHTS = ["model.safetensors", "adapter/adapter_model.safetensors", "backbone/model.safetensors"]


@pytest.fixture
def words(parts: dict[str, Path], mixed: Path, tmp_path: Path) -> list[str]:
    """A job of some fifteen steps, each with a checkpoint."""
    settings = sets(tiny(parts, **SETTINGS), {"tracking": "[tensorboard]"})
    return ["fit", "--data", str(mixed), "--target", "y", "--output", str(tmp_path / "cut"), *settings]


@pytest.fixture(scope="session")
def whole(parts: dict[str, Path], mixed: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same job undisturbed, its last checkpoints kept, as a kill before the very end would leave them."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    settings = sets(tiny(parts, **SETTINGS), {"tracking": "[tensorboard]"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(cache))
        patch.setattr(Checkpoints, "clear", lambda self: None)
        done("fit", "--data", mixed, "--target", "y", "--output", folder, *settings)
    return folder


def same_bits(whole: Path, cut: Path) -> None:
    for name in WEIGHTS:
        assert (whole / "model" / name).read_bytes() == (cut / "model" / name).read_bytes(), name
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (whole, cut)]
    assert metrics[0] == metrics[1]
    history = [json.loads((run / "history.json").read_text()) for run in (whole, cut)]
    assert history[0]["losses"] == history[1]["losses"] and history[0]["best"] == history[1]["best"]


def readable(folder: Path) -> None:
    """Whatever is there can be read: no file of a run is ever half written."""
    for path in folder.glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    if (folder / "requested.yaml").exists():
        sensorium.Recipe.load(folder / "requested.yaml")
    run = Run(folder)
    assert not run.done("reported") or run.report.is_file()
    if (folder / "model").is_dir():
        sensorium.load(folder)


def started(words: list[str], cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*words), env=environment(cache), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def newest(folder: Path) -> str:
    return max((p.name for p in (folder / "checkpoints").glob("step-*")), default="")


def until(process: subprocess.Popen[str], ready: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready() and process.poll() is None and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.002)


def kill_and_finish(words: list[str], cache: Path, whole: Path, kills: int, seed: int) -> None:
    """Kill -9 at random moments until so many met a job at work: in its imports, in a save, in training, behind it."""
    rng = random.Random(seed)
    cut = Path(words[words.index("--output") + 1])
    landed = 0
    while landed < kills:
        process, before = started(words, cache), newest(cut)
        if landed % 3 == 2:
            time.sleep(rng.uniform(0.5, 3.5))  # before the first step: importing, reading, encoding
        else:
            until(process, lambda before=before: newest(cut) != before)  # type: ignore[misc]
            time.sleep(rng.choice([rng.uniform(0, 0.05), rng.uniform(0, 0.15), rng.uniform(0, 1.0)]))
        landed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if cut.is_dir():
            readable(cut)
        if Run(cut).done("reported"):  # this one was too late: once more from the start
            same_bits(whole, cut)
            shutil.rmtree(cut)
    done(*words)
    readable(cut)
    same_bits(whole, cut)
    assert not list((cut / "checkpoints").glob(".*")) and not list(cut.glob(".model-*"))


def test_kill_9_then_the_same_command(words: list[str], cache: Path, whole: Path) -> None:
    kill_and_finish(words, cache, whole, kills=3, seed=5)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_times_kill_9(words: list[str], cache: Path, whole: Path) -> None:
    kill_and_finish(words, cache, whole, kills=20, seed=1)


def interrupted(words: list[str], cache: Path, number: int) -> Said:
    """The job after a signal that comes with its second checkpoint."""
    cut = Path(words[words.index("--output") + 1])
    process = started(words, cache)
    until(process, lambda: newest(cut) >= "step-00000002")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return Said(process.returncode, "", err)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_saves_and_exits_130(words: list[str], cache: Path, whole: Path, number: int, tmp_path: Path) -> None:
    said = interrupted(words, cache, number)
    assert said.code == 130, said.err
    last = said.err.strip().splitlines()[-1]
    assert last.startswith("stopped after step ") and last.endswith("the same command goes on from there")
    for noise in ("Traceback", "Warning", "LOAD REPORT", "Loading weights", "%|"):
        assert noise not in said.err, "stderr holds our own lines alone"
    step = int(last.split()[3])
    assert newest(tmp_path / "cut") == f"step-{step:08d}"
    again = done(*words)
    assert f"resuming at step {step} of " in again.err
    same_bits(whole, tmp_path / "cut")


def as_after(whole: Path, cut: Path, stage: str) -> list[str]:
    """A copy of the run as a kill right after ``stage`` leaves it, and the command that goes on."""
    shutil.copytree(whole, cut)
    state = json.loads((cut / "run.json").read_text())
    names = ["measured_before", "trained", "measured_after"]
    state["stages"] = {name: state["stages"][name] for name in names[: names.index(stage) + 1]}
    (cut / "run.json").write_text(json.dumps(state))
    for file in ("report.html", "metrics.json", "predictions.parquet"):
        (cut / file).unlink()
    (cut / ".metrics.json.x.tmp").write_text("{")  # what a kill leaves of a file that was being written
    (cut / ".model-half").mkdir()
    return ["fit", str(cut / "requested.yaml"), "--output", str(cut)]


@pytest.mark.parametrize("stage", ["measured_before", "trained", "measured_after"])
def test_every_stage_resumes(stage: str, whole: Path, tmp_path: Path) -> None:
    said = done(*as_after(whole, tmp_path / "cut", stage))
    assert ("\ntraining: " in said.err) == (stage == "measured_before")
    assert ("test rows after training" in said.err) == (stage != "measured_after")
    assert "test rows before training" not in said.err
    same_bits(whole, tmp_path / "cut")
    assert not [p.name for p in (tmp_path / "cut").glob(".*") if p.name != ".lock"]
    assert not list((tmp_path / "cut/checkpoints").iterdir()), "a finished run needs none"


def test_a_damaged_newest_checkpoint_is_passed_over_and_said_so(whole: Path, tmp_path: Path) -> None:
    words = as_after(whole, tmp_path / "cut", "measured_before")
    last = tmp_path / "cut/checkpoints" / newest(tmp_path / "cut")
    data = bytearray((last / "model.safetensors").read_bytes())
    data[-3] ^= 1
    (last / "model.safetensors").write_bytes(data)
    said = done(*words)
    assert f"checkpoint {last.name} is damaged (model.safetensors has another hash); trying the one before" in said.err
    assert f"resuming at step {int(last.name[5:]) - 1} of " in said.err
    same_bits(whole, tmp_path / "cut")


def test_where_every_checkpoint_is_damaged_training_starts_anew(whole: Path, tmp_path: Path) -> None:
    words = as_after(whole, tmp_path / "cut", "measured_before")
    for folder in (tmp_path / "cut/checkpoints").glob("step-*"):
        (folder / "state.json").unlink()
    said = done(*words)
    assert said.err.count("is damaged (state.json is missing)") == 2 and "resuming" not in said.err
    same_bits(whole, tmp_path / "cut")


def test_a_signal_outside_training_exits_130_too(words: list[str], cache: Path) -> None:
    process = started(words, cache)
    time.sleep(2.5)  # importing, or reading the table
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert "goes on" in err.strip().splitlines()[-1]
