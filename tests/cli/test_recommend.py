"""``sensorium fit`` and ``recommend`` on a small table, as a user would call them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
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


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ring")
    write_tables(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert command(["fit", "r.yaml"]) == 0
    return folder / "run"


def test_the_run_has_what_a_run_has(fitted: Path) -> None:
    names = {path.name for path in fitted.iterdir()}
    assert {"recipe.yaml", "environment.json", "data_report.json", "metrics.json", "report.html", "model"} <= names
    metrics = json.loads((fitted / "metrics.json").read_text())
    assert metrics["rows"] == 24 and metrics["split"] == "test"
    # one of two things follows any: what follows what is learnt from few people
    assert metrics["after"]["hit_rate@5"]["value"] > 0.7
    assert metrics["baselines"]["most popular"]["hit_rate@5"]["value"] < 0.5


def test_a_known_user(fitted: Path, sensorium: Callable[..., Any]) -> None:
    said = sensorium("recommend", str(fitted), "--user", "u7", "--top", "3", "--because", "--json")
    assert said.code == 0
    found = json.loads(said.out)
    assert len(found["items"]) == 3 and found["notes"] == []
    assert found["items"][0]["title"].startswith("Thing ") and found["items"][0]["reasons"]
    scores = [item["score"] for item in found["items"]]
    assert scores == sorted(scores, reverse=True)


def test_a_visitor_goes_on_round_the_ring(fitted: Path, sensorium: Callable[..., Any]) -> None:
    said = sensorium("recommend", str(fitted), "--history", "thing 4; t5; Thing 6", "--top", "2", "--json")
    assert {item["item"] for item in json.loads(said.out)["items"]} & {"t7", "t8"}


def test_a_stranger_and_no_history_are_answered_and_told(fitted: Path, sensorium: Callable[..., Any]) -> None:
    said = sensorium("recommend", str(fitted), "--user", "nobody", "--top", "2")
    assert said.code == 0 and "nobody is no user of this run" in said.out.replace("\n", " ")
    assert sensorium("recommend", str(fitted), "--history", "", "--top", "2").code == 0


def test_a_rule_holds_for_the_young_alone(fitted: Path, sensorium: Callable[..., Any]) -> None:
    def kinds(user: str) -> set[int]:
        said = sensorium("recommend", str(fitted), "--user", user, "--top", "31", "--seen", "--json")
        return {int(item["item"][1:]) % 4 for item in json.loads(said.out)["items"]}

    assert 3 not in kinds("u0")
    assert 3 in kinds("u9")


def test_lists_of_all_users(fitted: Path, sensorium: Callable[..., Any], tmp_path: Path) -> None:
    assert sensorium("recommend", str(fitted), "--out", "lists.parquet", "--top", "4").code == 0
    found = pq.read_table(tmp_path / "lists.parquet").to_pylist()
    assert len(found) == 24 * 4 and [row["rank"] for row in found[:4]] == [1, 2, 3, 4]
    young = [row["item"] for row in found if row["user"] in ("u0", "u1", "u2", "u3")]
    assert not any(int(item[1:]) % 4 == 3 for item in young)  # the rule holds here too


def test_the_same_fit_again_is_finished(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fitted.parent)
    before = (fitted / "metrics.json").stat().st_mtime_ns
    assert command(["fit", "r.yaml"]) == 0
    assert (fitted / "metrics.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say for whom"),
        (["--user", "u1", "--history", "t1"], "say for whom"),
        (["--history", "Thinng 4"], "did you mean Thing 4"),
        (["--user", "u1", "--top", "0"], "asks for nothing"),
        (["--user", "u1", "--diversity", "2"], "give 0 to 1"),
        (["--out", "lists.csv"], ".parquet"),
    ],
)
def test_bad_input_is_one_line(fitted: Path, sensorium: Callable[..., Any], words: list[str], message: str) -> None:
    said = sensorium("recommend", str(fitted), *words)
    assert said.code == 2
    assert message in said.line


def test_a_folder_that_is_no_run(sensorium: Callable[..., Any], tmp_path: Path) -> None:
    assert sensorium("recommend", str(tmp_path), "--user", "u1").code == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("user: who", "user: hwo"), "did you mean who"),
        (("price, kind]", "price, knid]"), "knid"),
        (("kind: adult", "kind: adlut"), "no row has adlut"),
        (("width: 16", "width: 15\n  heads: 2"), "multiple of"),
        (("layers: 1", "layers: 1\n  backbone: gpt-of-mine"), "set recommender.backbone: small"),
        (("layers: 1", "layers: 1\n  knowledge: transe"), "knowledge graph"),
    ],
)
def test_bad_recipes_are_one_line(
    sensorium: Callable[..., Any], tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    write_tables(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE.replace(*change))
    said = sensorium("fit", "r.yaml")
    assert said.code == 2, said.err
    assert message in said.err.replace("\n", " ")
    assert "Traceback" not in said.err
