"""Running Sensorium's recipes for benchmarks: one run a variant and seed, its figures kept, its bulk removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.common import ROOT
from sensorium.recipe import Recipe

Overrides = Mapping[str, Any]


def recipe_of(name: str, overrides: Overrides, output: Path, seed: int, *, split_seed: bool = True) -> Recipe:
    """``recipes/NAME.yaml`` with overrides, for one seed of training and split."""
    drawn = {"data.split.seed": seed} if split_seed else {}
    merged = {"training.seed": seed, **drawn, **overrides, "output": str(output)}
    lines = [f"{key}={json.dumps(value)}" for key, value in merged.items()]
    return Recipe.load(ROOT / "recipes" / f"{name}.yaml", lines)


def run_of(recipe: Recipe, *, keep_model: bool = False) -> dict[str, Any]:
    """Run a recipe to its end (or go on with it) and give its figures.

    Returns:
        ``metrics`` of metrics.json, ``validation`` (the best validation metric, by which things are chosen),
        ``training_seconds``, ``job_seconds`` (from start to report, the last sitting's) and ``rows`` (predictions).
    """
    from sensorium.jobs.fit import fit

    folder = fit(recipe).folder
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    stages = json.loads((folder / "run.json").read_text(encoding="utf-8"))["stages"]
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if not keep_model:
        shutil.rmtree(folder / "model", ignore_errors=True)
    return {
        "metrics": json.loads((folder / "metrics.json").read_text(encoding="utf-8")),
        "validation": history["best"]["value"] if history["best"] else None,
        "training_seconds": history["seconds"],
        "job_seconds": stages["reported"]["seconds"],
        "peak_memory": history["peak_memory"],
        "rows": predictions(folder),
    }


def predictions(folder: Path) -> dict[str, list[Any]]:
    """Test rows of a run: ``row``, ``target``, ``after``."""
    columns = ["row", "target", "after"]
    return dict(pq.read_table(folder / "predictions.parquet", columns=columns).to_pydict())


def right(rows: Mapping[str, Sequence[Any]]) -> list[float]:
    """1 where the tuned model's answer is the target."""
    return [float(a == b) for a, b in zip(rows["target"], rows["after"], strict=True)]


def packed(numbers: Sequence[float]) -> str:
    """Whole numbers as one line of text: a file of results is read by people too."""
    return " ".join(str(int(number)) for number in numbers)


def unpacked(text: str) -> list[int]:
    """What ``packed`` made."""
    return [int(number) for number in text.split()]
