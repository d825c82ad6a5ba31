"""Fakes in the jobs' place: what the command line hands over is recorded, and nothing is trained."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sensorium.cli.main import run
from sensorium.recipe import Recipe

METRICS: dict[str, Any] = {
    "before": {"accuracy": {"value": 0.5, "low": 0.25, "high": 0.75}},
    "after": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}},
    "difference": {"accuracy": {"value": 0.4, "low": 0.3, "high": 0.5, "p": 0.002}},
    "baselines": {"majority": {"accuracy": {"value": 0.2, "low": 0.1, "high": 0.3}}},
    "against": {"majority": {"accuracy": {"value": 0.7, "low": 0.6, "high": 0.8, "p": 0.001}}},
    "split": "test",
    "rows": 40,
    "seed": 0,
    "task": "classify",
    "kind": "category",
    "primary": "accuracy",
}


@dataclass
class Result:
    folder: Path = Path("runs/x")
    metrics: dict[str, Any] = field(default_factory=lambda: METRICS)
    report: Path = Path("runs/x/report.html")
    finished_before: bool = False


class Report:
    def lines(self) -> list[str]:
        return ["12 rows", "[bold]1 row[/bold] \x1b[31mquarantined"]

    def to_dict(self) -> dict[str, Any]:
        return {"rows": 12}


@dataclass
class Jobs:
    """What was called, with what, in order; ``answers`` replaces an answer, or is raised when it is an error."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def reply(self, name: str, default: Any, **given: Any) -> Any:
        print("a job that prints")  # what a library below may do at any time
        self.calls.append((name, given))
        answer = self.answers.get(name, default)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def given(self, name: str) -> dict[str, Any]:
        found = [given for called, given in self.calls if called == name]
        assert len(found) == 1, self.calls
        return found[0]


# The jobs' functions by the names and arguments with which the command line calls them.
CALLS: dict[str, list[str]] = {
    "fit.fit": ["recipe", "fresh", "seeds", "progress"],
    "fit.infer_recipe": ["data", "target", "inputs", "task", "overrides", "output"],
    "evaluate.evaluate": ["run", "data"],
    "predict.predict_file": ["run", "data", "out", "progress", "top"],
    "inspect.check_data": ["source", "progress"],
    "inspect.show_example": ["recipe", "row"],
    "demo.demo": ["minutes", "output", "progress"],
}
KEYWORDS = {"top", "fresh", "seeds", "progress", "target", "inputs", "task", "overrides", "output", "minutes"}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    jobs = Jobs()

    def fit(recipe: Recipe, *, fresh: bool = False, seeds: list[int] | None = None, progress: Any = None) -> Any:
        progress("news")
        return jobs.reply("fit", Result(), recipe=recipe, fresh=fresh, seeds=seeds)

    def infer_recipe(data: Any, target: Any, inputs: Any, task: Any, overrides: Any, output: Any) -> Any:
        recipe = Recipe.parse({"data": {"source": data, "target": target}}, overrides=overrides)
        given = {
            "data": data,
            "target": target,
            "inputs": inputs,
            "task": task,
            "overrides": overrides,
            "output": output,
        }
        return jobs.reply("infer_recipe", recipe, **given)

    def demo(minutes: float, output: str | None = None, progress: Any = None) -> Any:
        return jobs.reply("demo", Result(), minutes=minutes, output=output)

    fakes: dict[str, dict[str, Callable[..., Any]]] = {
        "fit": {"fit": fit, "infer_recipe": infer_recipe},
        "evaluate": {"evaluate": lambda run, data=None: jobs.reply("evaluate", METRICS, run=run, data=data)},
        "predict": {
            "predict_file": lambda run, data, out, progress=None, top=None: jobs.reply(
                "predict", 3, run=run, data=data, out=out, top=top
            )
        },
        "inspect": {
            "check_data": lambda source, progress=None: jobs.reply("check", Report(), source=source),
            "show_example": lambda recipe, row: jobs.reply("show", "<picture> [bold]hi[/bold]", recipe=recipe, row=row),
        },
        "demo": {"demo": demo},
    }
    package = importlib.import_module("sensorium.jobs")
    for name, functions in fakes.items():
        module = ModuleType(f"sensorium.jobs.{name}")
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(package, name, module, raising=False)
    return jobs


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on stderr."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def sensorium(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Said]]:
    """Run one command line in an empty folder: ``sensorium("fit", "r.yaml")`` gives its code and what it wrote."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Said:
        capfd.readouterr()
        code = run(list(words))
        sys.stdout.flush()
        found = capfd.readouterr()
        return Said(code, found.out, found.err)

    yield call


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    (tmp_path / "r.yaml").write_text("data: {source: t.csv, target: y}\n", encoding="utf-8")
    return "r.yaml"
