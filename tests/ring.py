"""A small shop: people go round a ring of things, so that what comes next can be learnt in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sensorium.cli.main import run as command

RECIPE = """
task: recommend
data:
  source: seen.csv
  interactions:
    user: who
    item: what
    time: at
    items: {source: things.csv, key: what, inputs: {title: text, price: number, kind: category}}
    users: {source: people.csv, key: who, inputs: {age: number}}
recommender:
  width: 16
  layers: 1
  history: 20
  item_inputs: [price, kind]
  rules:
    - {item: {kind: adult}, user: {age: "<18"}}
training: {epochs: 2, batch_size: 8, learning_rate: 3.0e-3}
evaluation: {bootstrap: 100}
tracking: []
output: run
"""


def write_tables(folder: Path) -> None:
    """24 people go round a ring of 30 things, a step or two at a time."""
    rng = np.random.default_rng(0)
    rows = ["who,what,at"]
    for who in range(24):
        at = int(rng.integers(30))
        for step in range(9):
            rows.append(f"u{who},t{at},{1_000_000 + 1000 * who + step}")
            at = (at + int(rng.choice([1, 1, 1, 2]))) % 30
    (folder / "seen.csv").write_text("\n".join(rows) + "\n")
    things = [f"t{i},Thing {i},{i + 1},{'adult' if i % 4 == 3 else 'plain'}" for i in range(31)]
    (folder / "things.csv").write_text("what,title,price,kind\n" + "\n".join(things) + "\n")
    (folder / "people.csv").write_text("who,age\n" + "\n".join(f"u{i},{12 if i < 4 else 40}" for i in range(24)) + "\n")
    (folder / "r.yaml").write_text(RECIPE)


def fit_ring(folder: Path) -> Path:
    """The folder of a run that was fitted in ``folder``."""
    write_tables(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert command(["fit", "r.yaml"]) == 0
    return folder / "run"
