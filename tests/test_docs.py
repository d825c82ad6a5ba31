"""The documentation names what is there: files, commands, flags, keys of a recipe."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import yaml

from sensorium.cli.main import run
from sensorium.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every fenced block in that language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page.name, text) for page in PAGES for text in fence.findall(page.read_text(encoding="utf-8"))]


def commands() -> list[tuple[str, str]]:
    lines = [
        (page, line[2:]) for page, text in blocks("console") for line in text.splitlines() if line.startswith("$ ")
    ]
    return [(page, line[line.index("sensorium ") :]) for page, line in lines if re.match(r"(\S+/)?sensorium ", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", text):
        if target and not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_code_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for path in re.findall(r"`((?:src|tests|docs|recipes|benchmarks)/[\w./-]+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: value[:60])
def test_commands_and_flags_exist(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    verbs = (
        words[:2] if words[0] in ("data", "assets") and len(words) > 1 and not words[1].startswith("-") else words[:1]
    )
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run([*verbs, "--help"]) == 0
    for flag in (word for word in words if word.startswith("--")):
        assert f"{flag} " in out.getvalue(), flag
    recipes = [word for word in words if word.endswith(".yaml")]
    for recipe in recipes:
        assert (ROOT / recipe).is_file(), recipe
    changes = [value for key, value in pairwise(words) if key == "--set"]
    for recipe in recipes:
        Recipe.load(ROOT / recipe, overrides=changes)
    if not recipes:
        Recipe.parse({"data": {"source": "t.csv"}}, overrides=changes)


@pytest.mark.parametrize(("page", "text"), blocks("yaml"), ids=lambda value: value[:20])
def test_recipes_in_the_pages_are_recipes(page: str, text: str) -> None:
    Recipe.parse({"data": {"source": "t.csv"}} | yaml.safe_load(text), where=page)


def test_keys_named_in_the_pages_exist() -> None:
    for page in PAGES:
        for key in re.findall(
            r"`((?:data|model|training|evaluation|translation|tokenizer|drawing)\.[a-z_.]+)`",
            page.read_text(encoding="utf-8"),
        ):
            if key.endswith(".py"):
                continue
            model: object = Recipe
            for part in key.split("."):
                fields = getattr(model, "model_fields", {})
                assert part in fields, f"{page.name}: {key}"
                annotation = fields[part].annotation
                model = next((one for one in get_args(annotation) if hasattr(one, "model_fields")), annotation)
