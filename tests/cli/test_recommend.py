"""``sensorium fit`` and ``recommend`` on a small table, as a user would call them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sensorium.cli.main import run as command
from sensorium.jobs.recommend import OpenedRecommender
from tests.ring import RECIPE, fit_ring, write_tables


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit_ring(tmp_path_factory.mktemp("ring"))


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
    assert found["items"][0]["title"].startswith("Thing ") and found["known"]
    reason = found["items"][0]["reasons"][0]
    assert reason["kind"] in ("history", "input") and reason["fall"] > 0
    scores = [item["score"] for item in found["items"]]
    assert scores == sorted(scores, reverse=True)


def test_a_visitor_goes_on_round_the_ring(fitted: Path, sensorium: Callable[..., Any]) -> None:
    said = sensorium("recommend", str(fitted), "--history", "thing 4; t5; Thing 6", "--top", "2", "--json")
    assert {item["item"] for item in json.loads(said.out)["items"]} & {"t7", "t8"}


def test_a_stranger_and_no_history_are_answered_and_told(fitted: Path, sensorium: Callable[..., Any]) -> None:
    said = sensorium("recommend", str(fitted), "--user", "nobody", "--top", "2")
    assert said.code == 0 and "nobody is no user of this run" in said.out.replace("\n", " ")
    nothing = sensorium("recommend", str(fitted), "--history", "", "--top", "2")
    assert nothing.code == 0 and "nothing is known" in nothing.out.replace("\n", " ")


def test_freshness_brings_up_what_appeared_late(fitted: Path, sensorium: Callable[..., Any]) -> None:
    def first_items(*words: str) -> list[str]:
        said = sensorium("recommend", str(fitted), "--user", "u7", "--top", "5", "--json", *words)
        return [item["item"] for item in json.loads(said.out)["items"]]

    def appeared(item: str) -> float:
        rows = [row.split(",") for row in (fitted.parent / "seen.csv").read_text().splitlines()[1:]]
        last = {who: time for who, _, time in rows}  # each user's last interaction tests: nobody knows of it
        return min((float(at) for who, what, at in rows if what == item and at != last[who]), default=float("inf"))

    plain, fresh = first_items(), first_items("--freshness", "1")
    assert first_items("--freshness", "0") == plain != fresh
    late = [appeared(item) for item in fresh]
    assert late == sorted(late, reverse=True)  # the newest first, what nobody has touched before all


def test_users_of_a_file(fitted: Path, sensorium: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text("who,shop\nu7,a\nnobody,b\n,c\nu0,a\n")
    said = sensorium("predict", str(fitted), "--data", "asked.csv", "--out", "lists.parquet", "--top", "3")
    assert said.code == 0 and "4 rows answered" in said.out
    found = pq.read_table(tmp_path / "lists.parquet").to_pylist()
    assert [row["row"] for row in found] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert [row["rank"] for row in found] == [1, 2, 3] * 4
    assert [row["user"] for row in found[::3]] == ["u7", "nobody", None, "u0"]
    assert "no user of this run" in found[3]["note"] and "there is no user" in found[6]["note"]
    assert found[0]["note"] is found[9]["note"] is None
    assert [row["item"] for row in found[3:6]] == [row["item"] for row in found[6:9]]  # both get what a visitor gets
    alone = sensorium("recommend", str(fitted), "--user", "u7", "--top", "3", "--json")
    assert [row["item"] for row in found[:3]] == [item["item"] for item in json.loads(alone.out)["items"]]


def test_who_has_met_all_is_told_so(fitted: Path, sensorium: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "asked.jsonl").write_text('{"user": "u7"}\n')
    opened = OpenedRecommender(fitted)
    everything = ";".join(opened.names)
    said = sensorium("recommend", str(fitted), "--history", everything, "--json", "--because")
    assert said.code == 0
    found = json.loads(said.out)
    assert found["items"] == [] and found["notes"] == ["only 0 items are left to recommend"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "asked.csv", "--out", "lists.csv"], "end its name in .parquet"),
        (["--data", "other.csv", "--out", "lists.parquet"], "no column is called who or user"),
        (["--data", "asked.csv", "--out", "lists.parquet", "--top", "0"], "asks for nothing"),
        (["--data", "none.csv", "--out", "lists.parquet"], "none.csv"),
    ],
)
def test_a_bad_file_of_users_is_one_line(
    fitted: Path, sensorium: Callable[..., Any], tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "asked.csv").write_text("who\nu7\n")
    (tmp_path / "other.csv").write_text("name\nu7\n")
    said = sensorium("predict", str(fitted), *words)
    assert said.code == 2 and message in said.line
    assert not list(tmp_path.glob("*lists*"))


def test_a_run_that_recommends_does_not_chat(fitted: Path, sensorium: Callable[..., Any]) -> None:
    said = sensorium("chat", str(fitted))
    assert said.code == 2 and "the run recommends" in said.err


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
        (["--user", "u1", "--freshness", "-0.1"], "freshness -0.1 is out of range"),
        (["--out", "lists.csv"], ".parquet"),
    ],
)
def test_bad_input_is_one_line(fitted: Path, sensorium: Callable[..., Any], words: list[str], message: str) -> None:
    said = sensorium("recommend", str(fitted), *words)
    assert said.code == 2
    assert message in said.line


def test_sampled_softmax_learns_by_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path)
    more = "layers: 1\n  loss: sampled\n  negatives: 12\n  transitions: never"
    recipe = RECIPE.replace("layers: 1", more).replace("epochs: 2", "epochs: 20").replace("3.0e-3", "1.0e-2")
    (tmp_path / "r.yaml").write_text(recipe.replace("bootstrap: 100", "bootstrap: 100, baselines: false"))
    assert command(["fit", "r.yaml"]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["before"]["hit_rate@5"]["value"] < 0.5 < 0.7 < metrics["after"]["hit_rate@5"]["value"]


def test_a_folder_that_is_no_run(sensorium: Callable[..., Any], tmp_path: Path) -> None:
    assert sensorium("recommend", str(tmp_path), "--user", "u1").code == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("user: who", "user: hwo"), "did you mean who"),
        (("price, kind]", "price, knid]"), "knid"),
        (("kind: adult", "kind: adlut"), "no row has adlut"),
        (("width: 16", "width: 15\n  heads: 2"), "multiple of"),
        (("layers: 1", "layers: 1\n  backbone: gpt-of-mine"), "neither an asset nor a folder"),
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
