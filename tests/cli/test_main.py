"""Help, versions, and what every command does when something goes wrong."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sensorium.errors import AssetError, DataError, Interrupted, NonFiniteLoss, RecipeError, RunError

VERBS = [["fit"], ["evaluate"], ["predict"], ["demo"], ["data"], ["data", "check"], ["data", "show"]]
VERBS += [["assets"], ["assets", "pull"], ["assets", "verify"]]


@pytest.mark.parametrize("words", [[], *VERBS], ids=" ".join)
def test_help_has_a_sentence_and_an_example(sensorium: Callable[..., Any], words: list[str]) -> None:
    said = sensorium(*words, "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(" ".join(["Usage: sensorium", *words]))
    example = " ".join(["  sensorium", *words])
    assert example in said.out.partition("\n")[2], "an example that begins like the command"
    assert max(map(len, said.out.splitlines())) <= 100
    assert "..." not in said.out.partition("Commands:")[2], "a short help that is cut in the middle"


@pytest.mark.parametrize("words", [[], ["data"]], ids=str)
def test_a_group_alone_shows_its_help(sensorium: Callable[..., Any], words: list[str]) -> None:
    assert sensorium(*words).out == sensorium(*words, "--help").out


def test_version(sensorium: Callable[..., Any]) -> None:
    from sensorium import __version__

    assert sensorium("--version").out == f"sensorium {__version__}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fitt", "no such command 'fitt'; did you mean 'fit'? (see sensorium --help)"),
        ("xyzzy", "no such command 'xyzzy' (see sensorium --help)"),
        ("data chek", "did you mean 'check'? (see sensorium data --help)"),
        ("fit --dta t.csv", "did you mean --data or "),
        ("fit r.yaml --epochs 3", "no such option: --epochs; did you mean --set training.epochs=…?"),
        ("fit r.yaml --learning-rate 3", "--set training.learning_rate=…"),
        ("fit r.yaml --seed 3", "--seeds"),
        ("fit -x", "no such option: -x"),
        ("fit a.yaml b.yaml", "unexpected extra argument"),
        ("fit r.yaml --set", "'--set' requires an argument"),
        ("predict", "missing argument 'RUN'"),
        ("predict runs/x", "missing option '--data'"),
        ("data show r.yaml --row -1", "'--row': should be greater than or equal to 0"),
        ("data show r.yaml --row two", "'--row': should be a valid integer"),
        ("demo --minutes 0", "'--minutes': should be greater than"),
        ("demo --minutes \x1b[2J", "'--minutes'"),
        ("evaluate", "missing argument 'RUN'"),
        ("--nope", "no such option: --nope"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exits_2(sensorium: Callable[..., Any], line: str, said: str) -> None:
    found = sensorium(*line.split(" "))
    assert (found.code, found.out) == (2, "")
    assert found.line.startswith("error: ")
    assert said in found.line
    assert found.line.isprintable()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RecipeError("unknown key x", where="r.yaml", mend="did you mean y?"), 2, "error: r.yaml: unknown key x; did you mean y?"),
        (DataError("no such file", where="t.csv"), 2, "error: t.csv: no such file"),
        (AssetError("wrong hash", where="emoji", mend="pull it again"), 2, "error: emoji: wrong hash; pull it again"),
        (RunError("locked", where="runs/x"), 2, "error: runs/x: locked"),
        (NonFiniteLoss("the loss is NaN", where="rows 3, 7"), 2, "error: rows 3, 7: the loss is NaN"),
        (Interrupted("interrupted at step 7", mend="the same command goes on"), 130, "interrupted at step 7; the same command goes on"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on where it stopped"),
        (MemoryError(), 2, "error: out of memory; lower training.micro_batch_size or model.image_size"),
        (OSError(errno.ENOSPC, "No space left on device", "c/x"), 2, "error: c/x: No space left on device; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), 2, "error: /a: Permission denied; give a place that you may write to"),
        (ZeroDivisionError("division by zero\nsecond line"), 1, "defect: ZeroDivisionError: division by zero second line; this is ours"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 1, "defect: FileNotFoundError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)  # fmt: skip
def test_a_failing_job_is_one_line(
    sensorium: Callable[..., Any], jobs: Any, error: BaseException, code: int, line: str
) -> None:
    jobs.answers["evaluate"] = error
    found = sensorium("evaluate", "runs/x", "--json")
    assert (found.code, found.out) == (code, "")
    assert found.err.splitlines()[-1].startswith(line)
    assert "Traceback" not in found.err


@pytest.mark.parametrize("words", [["--debug", "evaluate", "runs/x"], ["evaluate", "runs/x", "--debug"]], ids=" ".join)
def test_debug_adds_the_traceback_wherever_it_stands(
    sensorium: Callable[..., Any], jobs: Any, words: list[str]
) -> None:
    jobs.answers["evaluate"] = DataError("no such file", where="t.csv")
    found = sensorium(*words)
    assert found.code == 2
    assert "Traceback" in found.err
    assert found.err.strip().endswith("error: t.csv: no such file")


def test_a_reader_that_leaves_early_is_no_failure() -> None:
    """`sensorium --help | head -1`: many lines are written to a pipe that nobody reads."""
    code = """
import sys, typer
from sensorium.cli import main
@main.app.command("flood")
def flood() -> None:
    for number in range(100_000):
        print(number)
sys.exit(main.run(["flood"]))
"""
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout is not None and command.stderr is not None
    assert command.stdout.readline() == b"0\n"
    command.stdout.close()
    errors = command.stderr.read()
    command.stderr.close()
    assert (command.wait(60), errors) == (0, b"")


def test_the_module_runs_as_the_script_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sensorium.cli.main", "fitt"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no such command 'fitt'; did you mean 'fit'?")


def test_a_swallowed_sigterm_is_raised_again() -> None:
    """As by a library's ``__del__`` that runs just then: what is raised in it goes no further."""
    script = """
import os, signal, sys, time
from sensorium.cli import main
class Deleted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
def swallows(words):
    Deleted()
    try:
        time.sleep(30)
    except KeyboardInterrupt:
        return 130
    return 0
main.run = swallows
main.main(["x"])
"""
    found = subprocess.run([sys.executable, "-c", script], timeout=25, check=False, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (130, "")
