"""Real processes: two under accelerate, and kill -9."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training.training_job import same_bits

SCRIPT = str(Path(__file__).with_name("training_job.py"))
SOURCE = str(Path(__file__).resolve().parents[2] / "src")


def environment() -> dict[str, str]:
    path = os.pathsep.join([SOURCE, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


# on CPU too, only --multi_gpu makes accelerate start several processes
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
LAUNCH += ["--num_processes", "2", "--dynamo_backend", "no", "--main_process_port", "0"]


def run(out: Path, *settings: str, launch: Sequence[str] = ()) -> None:
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *launch, SCRIPT, str(out), *settings]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_equal_one_with_twice_the_accumulation(tmp_path: Path) -> None:
    """20 steps in fp32, pictures in some rows only, dropout on: max |Δw| ≤ 1e-4 · max |w| for every tensor."""
    settings = ["epochs=4", "batch_size=8", "micro_batch_size=2", "learning_rate=0.02", "patience=null"]
    run(tmp_path / "two", *settings, launch=LAUNCH)
    run(tmp_path / "one", *settings)
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    first, second = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("one", "two"))
    assert (first["processes"], second["processes"]) == (1, 2)
    assert first["steps"] == second["steps"] == 20
    for name in one.keys() - {"seen"}:
        assert (one[name] - two[name]).abs().max() <= 1e-4 * one[name].abs().max(), name
    for (_, a), (_, b) in zip(first["losses"], second["losses"], strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_two_processes_agree_on_bad_numbers_and_on_ctrl_c(tmp_path: Path) -> None:
    """Both stop in the same step, and say why; none waits for the other."""
    settings = ["epochs=50", "batch_size=8", "micro_batch_size=2", "patience=null"]
    bad, cut = tmp_path / "bad", tmp_path / "cut"
    bad.mkdir(), cut.mkdir()
    launches = [
        subprocess.Popen(
            [sys.executable, *LAUNCH, SCRIPT, str(out), *settings, *more],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        for out, more in ((bad, ["poison=[9]"]), (cut, ["sleep=0.02"]))
    ]  # fmt: skip
    deadline = time.monotonic() + 60
    while not newest(cut) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(launches[1].pid, signal.SIGINT)  # as a terminal does, to launcher and both processes
    said, interrupted = (launch.communicate(timeout=60)[0] for launch in launches)
    lines = [line for line in said.splitlines() if line.startswith("rank ")]
    assert len(lines) == 2 and len({line[6:] for line in lines}) == 1, said
    assert "NonFiniteLoss the loss is not finite in step " in lines[0] and "9" in lines[0].partition("rows")[2]
    lines = [line for line in interrupted.splitlines() if line.startswith("rank ")]
    assert len(lines) == 2 and len({line[6:] for line in lines}) == 1, interrupted
    step = int(lines[0].partition("stopped after step ")[2].split()[0])
    assert newest(cut) == f"step-{step:08d}"


def newest(folder: Path) -> str:
    return max((p.name for p in (folder / "checkpoints").glob("step-*")), default="")


def kill_and_finish(folder: Path, kills: int, epochs: int, seed: int) -> None:
    """Each sitting dies at a random moment within 0.3 s of its first checkpoint, many of them during a save."""
    rng = random.Random(seed)
    settings = [f"epochs={epochs}", "batch_size=8", "micro_batch_size=4", "checkpoint_every=1", "patience=null"]
    run(folder / "whole", *settings)
    cut = folder / "cut"
    cut.mkdir()
    for _ in range(kills):
        before = newest(cut)
        process = subprocess.Popen([sys.executable, SCRIPT, str(cut), *settings, "sleep=0.005"], env=environment())
        while newest(cut) == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.3))
        assert process.poll() is None, "the job was too short to be killed"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    run(cut, *settings)
    assert same_bits(load_file(folder / "whole" / "weights.safetensors"), load_file(cut / "weights.safetensors"))
    assert not list((cut / "checkpoints").glob(".*"))


def test_sigkill_then_the_same_command(tmp_path: Path) -> None:
    kill_and_finish(tmp_path, kills=2, epochs=8, seed=1)


@pytest.mark.long
def test_twenty_sigkills(tmp_path: Path) -> None:
    kill_and_finish(tmp_path, kills=20, epochs=40, seed=2)
