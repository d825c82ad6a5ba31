"""`data check` and `data show`: what is said of bad data, and one example as the model sees it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.end_to_end.commands import Said, call, done, sets, tiny
from tests.end_to_end.test_matrix import chats


def show(data: Path, target: str | None, row: int, settings: dict[str, Any]) -> str:
    """What `data show` prints, rows of its tables on one line each."""
    recipe = data.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump({"data": {"source": str(data), "target": target}}))
    return done("data", "show", recipe, "--row", str(row), *sets(settings)).out


def test_show_a_row_that_is_classified(parts: dict[str, Path], mixed: Path) -> None:
    out = show(mixed, "y", 1, tiny(parts))
    assert re.search(r"t.csv row 2 \((train|validation|test)\)", out)
    for column, kind in (
        ("picture", "image"),
        ("sound", "audio"),
        ("words", "text"),
        ("size", "number"),
        ("shop", "category"),
    ):
        assert re.search(rf"{column}\s.*\b{kind}\b", out), out
    assert re.search(r"y\s.*target.*green", out)
    assert "[picture: 5 positions from 3 × 32 × 32]" in out and "[sound: " in out and "[table: " in out
    assert "a thing number 1 that looks green" in out
    assert "target of the head: 1" in out, "classes are sorted: blue, green, red"


def test_show_what_is_supervised(parts: dict[str, Path], questions: Path) -> None:
    out = show(questions, "answer", 0, tiny(parts))
    taught = [line for line in out.splitlines() if "yes" in line]
    assert any("red<|end|>" in line for line in taught) and not any("which colour" in line for line in taught)
    tokens, supervised = map(int, re.search(r"(\d+) tokens, (\d+) supervised", out).groups())  # type: ignore[union-attr]
    assert 0 < supervised < tokens


def test_show_media_beside_the_text(parts: dict[str, Path], questions: Path) -> None:
    out = show(questions, "answer", 0, tiny(parts, model__fusion__kind="cross_attention"))
    assert "beside the text: [picture: 5 positions" in out


def test_show_a_gap(parts: dict[str, Path], mixed: Path, tmp_path: Path) -> None:
    lines = mixed.read_text().splitlines()
    lines[1] = "," + lines[1].partition(",")[2]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "media").symlink_to(mixed.parent / "media")
    said = call("data", "check", tmp_path / "t.csv", "--target", "y")
    assert said.code == 0 and "60 set aside" in said.out, "a link that leads out of the folder is not followed"
    (tmp_path / "media").unlink()
    (mixed.parent / "media").rename(tmp_path / "media")
    try:
        out = show(tmp_path / "t.csv", "y", 0, tiny(parts))
    finally:
        (tmp_path / "media").rename(mixed.parent / "media")
    assert "[picture: missing, its learned vector]" in out and "(missing)" in out


def test_show_a_chat(parts: dict[str, Path], tmp_path: Path) -> None:
    out = show(chats(tmp_path), None, 1, tiny(parts))
    assert "[image_url: 5 positions" in out and "green<|end|>" in out
    assert not re.search(r"^\s*None\b", out, re.MULTILINE)


def test_show_refuses_a_bad_row(parts: dict[str, Path], tmp_path: Path, questions: Path) -> None:
    (tmp_path / "ask.jsonl").write_text(
        questions.read_text() + json.dumps({"picture": "gone.png", "question": "which?", "answer": "red"}) + "\n"
    )
    (questions.parent / "media").rename(tmp_path / "media")
    try:
        (tmp_path / "r.yaml").write_text("data: {source: ask.jsonl, target: answer}\n")
        said = call(
            "data",
            "show",
            tmp_path / "r.yaml",
            "--set",
            f"data.source={tmp_path}/ask.jsonl",
            "--row",
            "48",
            *sets(tiny(parts)),
        )
    finally:
        (tmp_path / "media").rename(questions.parent / "media")
    assert said.code == 2 and "quarantined" in said.line and "no such file" in said.line and "line 49" in said.line


def test_no_encoder_for_what_is_shown(parts: dict[str, Path], mixed: Path) -> None:
    recipe = mixed.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump({"data": {"source": str(mixed), "target": "y"}}))
    said = call("data", "show", recipe, *sets(tiny(parts, model__audio="null")))
    assert said.code == 2 and "model.audio" in said.line and "name an encoder" in said.line


# -- check -----------------------------------------------------------------------------------------


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """Thirty rows with a leak, a constant, an empty text, two equal rows and one class that is rare."""
    lines = ["words,copy,note,label"]
    for i in range(30):
        label = "rare" if i == 7 else ("yes" if i % 2 else "no")
        lines.append(f"{'' if i == 3 else f'thing {0 if i == 9 else i}'},{label},same,{label}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "t.csv"


def checked(*words: str | Path) -> tuple[Said, dict[str, Any]]:
    said = done("data", "check", *words, "--json")
    return said, json.loads(said.out)


def test_check_counts_what_it_finds(spoilt: Path) -> None:
    said, report = checked(spoilt, "--target", "label")
    assert said.out.count("\n") == 1
    assert report["rows"] == 30
    told = json.dumps(report["findings"])
    assert "copy" in told and any(f["column"] == "copy" and f["severity"] == "warning" for f in report["findings"])
    assert all({"kind", "column", "count", "severity", "message"} <= finding.keys() for finding in report["findings"])


def test_check_without_a_target_looks_at_every_column(spoilt: Path) -> None:
    said = done("data", "check", spoilt)
    assert said.out.splitlines()[0].startswith("30 rows")
    assert not (spoilt.parent / "runs").exists(), "checking changes nothing"


def test_check_of_a_recipe_that_names_its_target(spoilt: Path) -> None:
    recipe = spoilt.with_suffix(".yaml")
    recipe.write_text(f"data: {{source: {spoilt}, target: label}}\n")
    assert checked(recipe)[1] == checked(spoilt, "--target", "label")[1]


def test_a_hostile_cell_is_printed_as_text(tmp_path: Path) -> None:
    nasty = "\x1b[2J\x1b]0;owned\x07[bold red]x[/bold red]"
    lines = ["words,label"] + [f"{nasty} {i},{nasty}{i % 2}" for i in range(20)] + [f"x,{nasty}9"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    for words in (["data", "check", tmp_path / "t.csv", "--target", "label"], ["data", "check", tmp_path / "t.csv"]):
        said = call(*words)
        assert "\x1b" not in said.out + said.err and "\x07" not in said.out + said.err


def test_a_hostile_cell_is_text_in_the_report_and_on_the_terminal(parts: dict[str, Path], tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J[bold]x[/bold]<|end|>"
    lines = ["words,label"] + [f"{nasty} {i},{nasty}{i % 2}" for i in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    settings = sets(tiny(parts, training__max_steps=1))
    said = done("fit", "--data", tmp_path / "t.csv", "--target", "label", "--output", tmp_path / "run", *settings)
    assert "\x1b" not in said.out + said.err
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page and "<img src=x" not in page and "&lt;script&gt;alert(1)" in page
    assert "[bold]x[/bold]" in page
