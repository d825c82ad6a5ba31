"""Progress, tables, the one JSON object, and hostile text."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensorium.cli import console
from sensorium.cli.console import Progress


def test_progress_says_lines_and_opens_bars_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress("starting \x1b[31m")
    with progress.task("training", total=4, done=1, unit="row") as advance:
        advance(3, loss=0.4321987)
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[0] == "starting \\x1b[31m"
    assert lines[-1].startswith("training: 4/4 in ") and "loss 0.4322" in lines[-1]


def test_other_processes_are_silent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    progress = Progress()
    progress("starting")
    with progress.task("training", total=1) as advance:
        advance()
    console.table("", ["a"], [["b"]])
    console.say("c")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_nothing_but_the_object_reaches_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with console.one_json_object(True) as emit:
        print("noise")
        emit({"path": Path("a"), "name": "größe"})
    said = capsys.readouterr()
    assert (said.out, said.err) == ('{"path": "a", "name": "größe"}\n', "noise\n")


def test_a_failure_leaves_stdout_empty(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), console.one_json_object(True) as emit:
        emit({"half": "done"})
        raise ZeroDivisionError
    assert capsys.readouterr().out == ""


def test_a_table_shows_cells_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["name", "MB"], [["[red]x[/red] :smile:", "1,234.5"], ["y", "2.0"]])
    out = capsys.readouterr().out
    assert "[red]x[/red] :smile:" in out
    assert out.rstrip().endswith("    2.0")
