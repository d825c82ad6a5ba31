"""``fit`` of a recommend recipe: files of the run, and a kill that leaves no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from sensorium.run import Run, sha256_file


def recipe(folder: Path, output: str, backbone: str) -> Path:
    rng = np.random.default_rng(0)
    lines = ["user_id,item_id,timestamp,rating"]
    for user in range(30):
        for step, item in enumerate(rng.permutation(20)[:8]):
            lines.append(f"u{user},i{item},{1_000_000 + 1000 * step + user},{rng.integers(1, 6)}")
    (folder / "seen.csv").write_text("\n".join(lines) + "\n")
    raw = {
        "task": "recommend",
        "data": {"source": str(folder / "seen.csv"), "interactions": {"rating": "rating"}},
        "model": {"adapt": {"method": "lora", "layers": 2}},
        "recommender": {"backbone": backbone, "width": 8, "layers": 1, "history": 10, "identity_dropout": 0.2},
        "training": {"epochs": 12, "batch_size": 8, "learning_rate": 0.01, "checkpoint_every": 3, "patience": None},
        "evaluation": {"baselines": False, "bootstrap": 100},
        "tracking": [],
        "output": str(folder / output),
    }
    path = folder / f"{output}.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def command(path: Path) -> list[str]:
    return [sys.executable, "-m", "sensorium.cli.main", "fit", str(path)]


@pytest.mark.long
@pytest.mark.parametrize("backbone", ["small", "llama"])
def test_a_killed_run_goes_on_and_ends_as_the_undisturbed_one(
    tmp_path: Path, parts: dict[str, Path], backbone: str
) -> None:
    gpt = str(parts.get(backbone, backbone))
    subprocess.run(command(recipe(tmp_path, "whole", gpt)), check=True, capture_output=True)
    killed = recipe(tmp_path, "killed", gpt)
    process = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list((tmp_path / "killed" / "checkpoints").glob("step-*")) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not Run(tmp_path / "killed").done("reported")
    subprocess.run(command(killed), check=True, capture_output=True)
    one, other = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    for weights in one.model.rglob("*.safetensors"):
        assert sha256_file(weights) == sha256_file(other.model / weights.relative_to(one.model))
    assert one.metrics == other.metrics
    rows = pq.read_table(one.folder / "predictions.parquet").to_pydict()
    assert len(rows["user"]) == 30 and min(rows["rank_after"]) >= 1
    names = "recipe.yaml environment.json data_report.json quarantine.jsonl history.json metrics.json report.html"
    assert all((one.folder / name).exists() for name in names.split())
