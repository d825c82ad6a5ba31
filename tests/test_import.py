"""Importing the package touches no disk, network or environment, and help costs no deep-learning stack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = [
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "sklearn",
    "pyarrow",
    "pandas",
    "numpy",
    "matplotlib",
    "rich.console",
]

# An audit hook sees every file opened, name resolved, process started and variable set, whichever library does it.
WATCH = """
import json, os, sys
seen = []
before = dict(os.environ)
def watch(event, arguments):
    if event == "open":
        path, mode = str(arguments[0]), arguments[1] or "r"
        if not path.endswith((".py", ".pyc")):
            seen.append(["open", path, mode])
    elif event.startswith(("socket.", "subprocess.", "os.mkdir", "os.remove", "os.putenv", "os.unsetenv", "shutil.", "tempfile.")):
        seen.append([event, repr(arguments)[:200], ""])
sys.addaudithook(watch)
import sensorium
for name in {names!r}:
    getattr(sensorium, name)
print(json.dumps({{"seen": seen, "environment": before == dict(os.environ), "modules": sorted(sys.modules)}}))
"""


def _fresh(code: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("names", [[], ["__version__", "SensoriumError"]], ids=["bare", "light names"])
def test_importing_touches_nothing(names: list[str]) -> None:
    found = _fresh(WATCH.format(names=names))
    assert found["seen"] == []
    assert found["environment"] is True
    assert [module for module in HEAVY if module in found["modules"]] == []  # type: ignore[operator]


def test_the_recipe_needs_no_deep_learning_stack() -> None:
    found = _fresh(WATCH.format(names=["Recipe", "Run"]))
    assert [event for event in found["seen"] if event[0] == "open" and "w" in event[2]] == []  # type: ignore[attr-defined, index]
    assert [module for module in HEAVY if module in found["modules"]] == []  # type: ignore[operator]


@pytest.mark.parametrize(
    "words",
    [["--help"], ["fit", "--help"], ["data", "check", "--help"], ["assets", "pull", "--help"], ["--version"]],
    ids=" ".join,
)
def test_help_imports_only_what_it_shows(words: list[str]) -> None:
    """Half a second is a matter of what is imported; a list does not depend on how busy the machine is."""
    code = f"""
import contextlib, io, json, sys
from sensorium.cli.main import run
out = io.StringIO()
with contextlib.redirect_stdout(out):
    code = run({words!r})
print(json.dumps({{"code": code, "text": out.getvalue(), "modules": sorted(sys.modules)}}))
"""
    found = _fresh(code)
    assert found["code"] == 0
    assert "sensorium" in str(found["text"])
    heavy = [*HEAVY, "yaml", "sensorium.jobs", "sensorium.recipe", "sensorium.run"]
    assert [module for module in heavy if module in found["modules"]] == []  # type: ignore[operator]


def test_public_names_are_listed_and_unknown_ones_refused() -> None:
    import sensorium

    assert set(sensorium.__all__) <= set(dir(sensorium))
    assert {"fit", "evaluate", "load", "Recipe", "Run", "__version__"} <= set(sensorium.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        sensorium.fitt  # noqa: B018


def test_every_public_name_has_a_home() -> None:
    import importlib

    import sensorium

    for name, home in sensorium._HOMES.items():
        assert hasattr(importlib.import_module(home), name), f"{home} lacks {name}"
        assert getattr(sensorium, name) is getattr(importlib.import_module(home), name)


def test_the_typing_marker_and_version_are_there(repository: Path) -> None:
    import re

    import sensorium

    assert (repository / "src" / "sensorium" / "py.typed").is_file()
    assert re.fullmatch(r"\d+\.\d+\.\d+", sensorium.__version__)
    assert (
        f"## {sensorium.__version__}" in (repository / "CHANGELOG.md").read_text()
        or "## Unreleased" in (repository / "CHANGELOG.md").read_text()
    )
