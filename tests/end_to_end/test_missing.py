"""A table with every kind of column, named by two flags; the same with a tenth of its cells gone."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

import sensorium
from sensorium.assets import CATALOGUE
from sensorium.jobs.opened import table_source
from tests.end_to_end.commands import done, sets, tiny
from tests.small_data import mixed_table

INPUTS = {"picture": "image", "sound": "audio", "words": "text", "size": "number", "shop": "category"}


@pytest.mark.real
def test_two_flags_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default parts, really; only the amount of work is cut."""
    monkeypatch.chdir(tmp_path)
    mixed_table(tmp_path, rows=30)
    short = sets({"training.max_steps": 2, "data.max_rows": 24, "training.batch_size": 4, "evaluation.bootstrap": 100})
    said = done("fit", "--data", "t.csv", "--target", "y", *short, "--json")
    found = json.loads(said.out)
    assert found["run"] == "runs/t-y" and "accuracy" in found["metrics"]["after"]
    model = sensorium.load("runs/t-y")
    assert model.schema.inputs == INPUTS and model.recipe.model.backbone in CATALOGUE
    assert model.predict([{"picture": "media/0.png"}, {"sound": "media/1.wav", "words": "blue?"}])


def with_gaps(folder: Path, share: float = 0.1, rows: int = 60) -> Path:
    """The mixed table with cells of every column, the target's too, left out at random."""
    path = mixed_table(folder, rows=rows)
    rng = random.Random(1)
    with open(path, encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        line.update({name: "" for name in line if rng.random() < share})
    lines[3].update(dict.fromkeys(INPUTS, ""))  # one row with nothing in it
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


@pytest.mark.parametrize("fusion", ["tokens", "cross_attention", "attention"])
def test_a_tenth_of_the_cells_missing(fusion: str, parts: dict[str, Path], tmp_path: Path) -> None:
    data = with_gaps(tmp_path)
    with open(data, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    settings = sets(tiny(parts, training__max_steps=4, model__fusion__kind=fusion))
    done("fit", "--data", data, "--target", "y", "--output", tmp_path / "run", *settings)
    schema = json.loads((tmp_path / "run/schema.json").read_text())
    assert schema["inputs"] == INPUTS, "gaps change no column's type"
    aside = [json.loads(line) for line in (tmp_path / "run/quarantine.jsonl").read_text().splitlines()]
    useless = {i for i, row in enumerate(rows) if not row["y"] or not any(row[name] for name in INPUTS)}
    assert {line["id"] for line in aside} == useless and all(line["reason"] for line in aside)
    report = json.loads((tmp_path / "run/data_report.json").read_text())
    assert sum(report["splits"].values()) == len(rows) - len(useless)
    told = {
        finding["column"]
        for finding in report["findings"]
        if "missing" in finding["kind"] or "empty" in finding["kind"]
    }
    assert told >= INPUTS.keys(), report["findings"]
    done("predict", tmp_path / "run", "--data", data, "--out", tmp_path / "out.jsonl")
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert all((line["prediction"] is None) == (line["problem"] is not None) for line in answers)
    # a row whose target alone is missing is answered
    assert {i for i, line in enumerate(answers) if line["prediction"] is None} <= {
        i for i, row in enumerate(rows) if not any(row[name] for name in INPUTS)
    }


def test_a_gap_is_read_as_a_learned_vector(parts: dict[str, Path], tmp_path: Path) -> None:
    data = mixed_table(tmp_path, rows=30)
    settings = sets(tiny(parts, training__max_steps=3, training__learning_rate=0.01, model__modality_dropout=0.3))
    done("fit", "--data", data, "--target", "y", "--output", tmp_path / "run", *settings)
    model = sensorium.load(tmp_path / "run")

    def probabilities(row: dict[str, object]) -> np.ndarray:
        source = table_source([row], model.schema, tmp_path)
        return model.answer(source).probabilities

    full = {"picture": "media/0.png", "sound": "media/0.wav", "words": "red", "size": 0.1, "shop": "north"}
    for name, input_ in (("picture", "picture"), ("sound", "sound"), ("size", "table")):
        gap = {key: cell for key, cell in full.items() if key != name and not (input_ == "table" and key == "shop")}
        before = probabilities(full), probabilities(gap)
        with torch.no_grad():
            model.model.projectors[input_].missing.add_(1.0)
        assert np.array_equal(before[0], probabilities(full)), "where there is something, the vector is not read"
        assert np.abs(before[1] - probabilities(gap)).max() > 1e-4, "where there is nothing, it is"
        model = sensorium.load(tmp_path / "run")
