"""What people's parallel files hold: refused in one line, or left out and counted; through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.commands import call, done
from tests.end_to_end.toy_language import write_recipe


def appended(name: str, data: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with open(folder / name, "ab") as file:
            file.write(data)

    return change


def as_utf16(folder: Path) -> None:
    path = folder / "train.de"
    path.write_bytes(path.read_text().encode("utf-16"))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (appended("train.de", "grün\n".encode("latin-1")), "train.de: line 1201 is not UTF-8 at byte 3; save the file as UTF-8"),
        (as_utf16, "train.de: "),
        (appended("train.de", b"eins\n"), "not line-aligned: train.en has 1,200 lines, train.de has 1,201 lines"),
        (lambda folder: (folder / "test.de").unlink(), "test.en has no counterpart in de"),
        (lambda folder: (folder / "val.de").write_bytes(b""), "val.de: the file is empty"),
        (appended("train.de", b"x" * (17 << 20)), "line 1201 is longer than 16 MiB; write one sentence a line"),
    ],
    ids=["latin-1", "utf-16", "unequal", "alone", "empty", "endless"],
)  # fmt: skip
def test_files_that_are_refused(change: Callable[[Path], object], line: str, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "run")
    change(tmp_path)
    said = call("fit", recipe)
    assert said.code == 2 and line in said.line, said.err
    assert not (tmp_path / "run" / "model").exists()


def test_empty_lines_and_a_megabyte_are_left_out_and_every_script_is_learnt(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "run")
    odd = [
        ("", "leer"),
        ("blank", " "),
        ("x" * (1 << 20), "lang"),
        ("one", "走る人"),
        ("two", "שלום עולם"),
        ("مرحبا", "drei"),
    ]
    for side, name in ((0, "train.en"), (1, "train.de")):
        appended(name, "".join(pair[side] + "\n" for pair in odd).encode())(tmp_path)
    said = done("fit", recipe, "--set", "training.max_steps=1", "--set", "evaluation.max_rows=4")
    told = json.loads((tmp_path / "run" / "data_report.json").read_text())
    assert told["splits"]["train"] == 2 * (1200 + 3)  # both ways
    assert sum(told["left_out"].values()) == 3 and "left out: no text of at most 100,000 characters in en" in said.err
    found = call("translate", tmp_path / "run", "--to", "de", "走る人 שלום")
    assert found.code == 0 and len(found.out.splitlines()) == 1
