"""What each command hands to its job, and what it prints of the answer."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sensorium.cli import fit as fit_command
from sensorium.errors import SensoriumError
from sensorium.recipe import Recipe
from tests.cli.conftest import CALLS, KEYWORDS, METRICS, Result

# -- the fakes tell the truth ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
def test_the_real_job_takes_what_the_command_hands_over(name: str) -> None:
    module, _, function = name.partition(".")
    signature = inspect.signature(getattr(importlib.import_module(f"sensorium.jobs.{module}"), function))
    positional = [None for word in CALLS[name] if word not in KEYWORDS]
    named = {word: None for word in CALLS[name] if word in KEYWORDS}
    if name == "evaluate.evaluate":
        positional, named = [None], {"data": None}
    if name == "fit.infer_recipe":
        positional, named = [], dict.fromkeys(CALLS[name])
    signature.bind(*positional, **named)


# -- fit -------------------------------------------------------------------------------------------


def test_fit_a_recipe_with_overrides(sensorium: Callable[..., Any], jobs: Any, recipe_file: str) -> None:
    line = f"fit {recipe_file} --set training.epochs=1 --set model.fusion=concat --task classify --output runs/z --seeds 0,1 --fresh"
    said = sensorium(*line.split())
    assert said.code == 0, said.err
    given = jobs.given("fit")
    assert isinstance(given["recipe"], Recipe)
    assert (given["fresh"], given["seeds"]) == (True, [0, 1])
    assert (given["recipe"].training.epochs, given["recipe"].model.fusion.kind) == (1, "concat")
    assert (given["recipe"].task, given["recipe"].output) == ("classify", "runs/z")


def test_fit_data_infers_a_recipe(sensorium: Callable[..., Any], jobs: Any) -> None:
    line = "fit --data t.csv --target y --input a=b=image --input zip=category --set training.epochs=2"
    assert sensorium(*line.split()).code == 0
    assert jobs.given("infer_recipe") == {
        "data": "t.csv",
        "target": "y",
        "inputs": {"a=b": "image", "zip": "category"},
        "task": "auto",
        "overrides": ["training.epochs=2"],
        "output": None,
    }
    assert jobs.given("fit")["recipe"].training.epochs == 2


def test_fit_two_files_of_parallel_text(sensorium: Callable[..., Any], jobs: Any) -> None:
    assert sensorium("fit", "--data", "a.en", "--data", "a.de", "--output", "runs/t").code == 0
    assert jobs.given("infer_recipe")["data"] == ["a.en", "a.de"]


def test_fit_prints_the_table_and_the_report(sensorium: Callable[..., Any], jobs: Any, recipe_file: str) -> None:
    said = sensorium("fit", recipe_file)
    assert "accuracy" in said.out
    assert said.out.splitlines()[-1] == "report: runs/x/report.html"
    assert "news" in said.err


def test_fit_of_several_seeds_prints_their_mean_and_spread(
    sensorium: Callable[..., Any], jobs: Any, recipe_file: str
) -> None:
    from sensorium.evaluation.summary import summarise

    runs = []
    for seed, value in ((0, 0.8), (1, 0.9)):
        after = {"accuracy": {"value": value, "low": 0.1, "high": 0.9}}
        runs.append({**METRICS, "after": after, "seed": seed})
    jobs.answers["fit"] = Result(metrics=summarise(runs))
    said = sensorium("fit", recipe_file, "--seeds", "0,1")
    assert said.code == 0, said.err
    assert "seeds 0, 1" in said.out
    assert "0.85 ± 0.071" in said.out and "majority" in said.out


def test_a_finished_run_prints_its_report_and_no_table(
    sensorium: Callable[..., Any], jobs: Any, recipe_file: str
) -> None:
    jobs.answers["fit"] = Result(finished_before=True)
    said = sensorium("fit", recipe_file)
    assert said.code == 0
    assert said.out.splitlines()[1:] == ["finished before; --fresh starts anew", "report: runs/x/report.html"]


@pytest.mark.parametrize(
    "line",
    [
        "fit r.yaml --json",
        "demo --json",
        "evaluate runs/x --json",
        "data check t.csv --json",
        "fit --data t.csv --target y --json",
    ],
)
def test_json_is_one_object_and_nothing_else(
    sensorium: Callable[..., Any], jobs: Any, recipe_file: str, line: str
) -> None:
    said = sensorium(*line.split())
    assert said.code == 0, said.err
    assert isinstance(json.loads(said.out), dict)
    assert said.out.count("\n") == 1
    assert "a job that prints" in said.err


def test_json_of_fit(sensorium: Callable[..., Any], jobs: Any, recipe_file: str) -> None:
    found = json.loads(sensorium("fit", recipe_file, "--json").out)
    assert found == {"run": "runs/x", "report": "runs/x/report.html", "finished_before": False, "metrics": METRICS}


def test_only_the_first_process_speaks(
    sensorium: Callable[..., Any], jobs: Any, recipe_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    said = sensorium("fit", recipe_file, "--json")
    assert (said.code, said.out) == (0, "")
    assert "news" not in said.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fit", "nothing to fit; give a recipe file, or --data FILE and --target COLUMN"),
        ("fit r.yaml --data t.csv", "exclude each other; use --set data.source=FILE"),
        ("fit r.yaml --target y", "exclude each other; use --set data.target=y"),
        ("fit r.yaml --input a=image", "use --set data.inputs.COLUMN=TYPE"),
        ("fit none.yaml", "none.yaml: no such recipe file"),
        ("fit t.csv", "looks like data, not like a recipe; write sensorium fit --data t.csv --target COLUMN"),
        ("fit .", "looks like data"),
        ("fit r.yaml --task draw", "--task: no task 'draw'; give classify or generate"),
        ("fit r.yaml --set training.epoch=1", "did you mean epochs?"),
        ("fit r.yaml --set epochs", "is not key=value"),
        ("fit r.yaml --seeds 0,x", "--seeds: '0,x' is no list of seeds; write whole numbers: --seeds 0,1,2"),
        ("fit r.yaml --seeds 1,1", "names a seed twice"),
        ("fit r.yaml --seeds -1", "is no list of seeds"),
        ("fit r.yaml --seeds ,", "is no list of seeds"),
        ("fit r.yaml --seeds 4294967296", "too large a seed"),
        (
            "fit --data t.csv --input image",
            "--input: 'image' is not COLUMN=TYPE; write for example --input zip=category",
        ),
        ("fit --data t.csv --input =image", "is not COLUMN=TYPE"),
        (
            "predict runs/x --data t.csv --out answers.xls",
            "unknown kind of file; end its name in .csv, .jsonl, .parquet",
        ),
        ("predict runs/x --data t.csv --out ./t.csv", "--out would overwrite --data"),
        ("data show none.yaml", "no such recipe file"),
        ("data check none.yaml", "no such recipe file"),
        ("assets pull", "say which to pull; name some, or give --all"),
        ("assets pull emoji --all", "say which to pull"),
    ],
)
def test_wrong_flags_never_reach_a_job(
    sensorium: Callable[..., Any], jobs: Any, recipe_file: str, line: str, said: str
) -> None:
    found = sensorium(*line.split())
    assert (found.code, found.out, jobs.calls) == (2, "", [])
    assert said in found.line


def test_seeds_and_inputs_are_read() -> None:
    assert fit_command.parse_seeds(None) is None
    assert fit_command.parse_seeds(" 3, 1 ,2") == [3, 1, 2]
    assert fit_command.parse_inputs(None) is None
    assert fit_command.parse_inputs(["a=text"]) == {"a": "text"}
    with pytest.raises(SensoriumError, match="seeds"):
        fit_command.parse_seeds("१")


# -- the others ------------------------------------------------------------------------------------


def test_demo(sensorium: Callable[..., Any], jobs: Any) -> None:
    said = sensorium("demo", "--minutes", "2.5", "--output", "runs/d")
    assert jobs.given("demo") == {"minutes": 2.5, "output": "runs/d"}
    assert "report: runs/x/report.html" in said.out


def test_evaluate_prints_values_with_intervals(sensorium: Callable[..., Any], jobs: Any) -> None:
    said = sensorium("evaluate", "runs/x", "--data", "more.csv")
    assert jobs.given("evaluate") == {"run": "runs/x", "data": "more.csv"}
    assert "90.0" in said.out and "80.0–95.0" in said.out


def test_evaluate_prints_metrics_that_have_no_before(sensorium: Callable[..., Any], jobs: Any) -> None:
    jobs.answers["evaluate"] = {key: value for key, value in METRICS.items() if key not in ("before", "difference")}
    said = sensorium("evaluate", "runs/x")
    assert said.code == 0, said.err
    assert "90.0" in said.out and "before" not in said.out


@pytest.mark.parametrize(("rows", "line"), [(1, "1 row answered in a.csv"), (1234, "1,234 rows answered in a.csv")])
def test_predict(sensorium: Callable[..., Any], jobs: Any, rows: int, line: str) -> None:
    jobs.answers["predict"] = rows
    said = sensorium("predict", "runs/x", "--data", "t.csv", "--out", "a.csv")
    assert jobs.given("predict") == {"run": "runs/x", "data": "t.csv", "out": "a.csv", "top": None}
    assert said.out.splitlines()[-1] == line


def test_data_check_shows_hostile_text_as_text(sensorium: Callable[..., Any], jobs: Any) -> None:
    said = sensorium("data", "check", "t.csv")
    assert jobs.given("check")["source"] == "t.csv"
    assert "[bold]1 row[/bold] \\x1b[31mquarantined" in said.out
    assert "\x1b" not in said.out


@pytest.mark.parametrize("line", ["data check r.yaml", "data check t.csv --target z", "data check r.yaml --target z"])
def test_data_check_of_a_recipe_or_a_target(
    sensorium: Callable[..., Any], jobs: Any, recipe_file: str, line: str
) -> None:
    assert sensorium(*line.split()).code == 0
    recipe = jobs.given("check")["source"]
    assert recipe.data.source == "t.csv"
    assert recipe.data.target == ("z" if "--target" in line else "y")


def test_data_show(sensorium: Callable[..., Any], jobs: Any, recipe_file: str) -> None:
    said = sensorium("data", "show", recipe_file, "--row", "7", "--set", "data.target=z")
    assert (jobs.given("show")["row"], jobs.given("show")["recipe"].data.target) == (7, "z")
    assert "<picture> [bold]hi[/bold]" in said.out


# -- assets ----------------------------------------------------------------------------------------


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    store = importlib.import_module("sensorium.assets.store")
    calls = SimpleNamespace(pulled=[], states=store.states)
    monkeypatch.setattr(store, "cache_root", lambda: Path("the-cache"))
    monkeypatch.setattr(
        store, "pull", lambda name, progress=None: calls.pulled.append(name) or Path("the-cache") / name
    )
    return calls


def test_assets_lists_every_entry(sensorium: Callable[..., Any], store: SimpleNamespace) -> None:
    from sensorium.assets.catalogue import CATALOGUE

    said = sensorium("assets")
    assert said.code == 0, said.err
    for name in CATALOGUE:
        assert name in said.out
    assert "Apache-2.0" in said.out and "cache: the-cache" in said.out
    listed = json.loads(sensorium("assets", "--json").out)
    assert {entry["name"] for entry in listed["assets"]} == set(CATALOGUE)
    assert all(entry["licence"] and entry["state"] for entry in listed["assets"])


def test_assets_pull_names_once_or_all(sensorium: Callable[..., Any], store: SimpleNamespace) -> None:
    from sensorium.assets.catalogue import CATALOGUE

    assert sensorium("assets", "pull", "emoji", "digits", "emoji").code == 0
    assert store.pulled == ["emoji", "digits"]
    store.pulled.clear()
    assert sensorium("assets", "pull", "--all").code == 0
    assert store.pulled == list(CATALOGUE)


def test_assets_verify_names_what_is_damaged(
    sensorium: Callable[..., Any], store: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("sensorium.assets.store")
    broken = {"emoji": ["emoji.parquet"]}
    monkeypatch.setattr(module, "verify", lambda name: broken.get(name, []))
    states = [replace(state, state="ready", path=Path("c") / state.asset.name) for state in module.states()]
    monkeypatch.setattr(module, "states", lambda: states)
    said = sensorium("assets", "verify")
    assert said.code == 2
    assert "digits: sound" in said.out and "emoji: damaged: emoji.parquet" in said.out
    assert said.line == "error: c/emoji: emoji is damaged; remove that folder, then sensorium assets pull emoji"
    assert json.loads(sensorium("assets", "verify", "--json").out)["damaged"]["emoji"] == ["emoji.parquet"]
    assert sensorium("assets", "verify", "digits").code == 0
