"""The structure holds: layers, rooms, and what no module may do."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sensorium"
MODULES = sorted(SOURCE.rglob("*.py"))


def test_upper_rooms_import_lower_ones_only(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlinter.cli import lint_imports

    monkeypatch.chdir(repository)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0, "run lint-imports to see which import"


def test_the_contract_names_every_room_in_the_order_of_the_road(repository: Path) -> None:
    contract = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    assert contract["exhaustive"] is True
    order = [{room.strip(" ()") for room in layer.split("|")} for layer in contract["layers"]]
    assert order.index({"data"}) < order.index({"modalities"}) < order.index({"assets"}) < order.index({"errors"})
    rooms = {path.stem for path in SOURCE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert rooms <= set().union(*order)


def test_every_room_is_a_package() -> None:
    """A folder without __init__.py is left out of a wheel, and import-linter does not see it."""
    folders = {path.parent for path in MODULES}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_has_one_idea_and_says_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.stem != "utils"
    assert len(text.splitlines()) <= 400, "split it: a module is a page or three"
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "say in a docstring what this module is for"


def _calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_from_outside_is_executed(path: Path) -> None:
    """No pickle, no eval, torch.load with weights_only, YAML by its safe loader, no code from a hub."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
    for name, call in _calls(tree):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert name not in ("eval", "exec", "os.system", "yaml.load", "yaml.unsafe_load"), name
        assert given.get("trust_remote_code", "False") == "False"
        assert given.get("shell", "False") == "False"
        assert given.get("allow_pickle", "False") == "False"
        if name == "torch.load":
            assert given.get("weights_only") == "True"


@pytest.mark.parametrize("path", sorted((SOURCE / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_commands_import_the_stack_only_when_they_run(path: Path) -> None:
    """At module level the command line knows typer, itself and errors: help costs nothing else."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            heavy = name.startswith("sensorium") and not name.startswith(("sensorium.cli", "sensorium.errors"))
            assert not heavy, f"import {name} inside the command"
            assert name.split(".")[0] not in {
                "torch",
                "transformers",
                "sklearn",
                "pyarrow",
                "rich",
                "pydantic",
                "yaml",
                "numpy",
            }
