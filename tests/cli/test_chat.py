"""The terminal and the pipe, with a conversation in the job's place that says what it is asked."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sensorium.cli.wrapping import Wrapped
from sensorium.errors import DataError, MediaError, RunError

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Talk:
    """Repeats a question, a word at a time; ``done`` is what was called, in order."""

    done: list[Any] = field(default_factory=list)
    left_out: int = 0

    def show(self, sense: str, path: str) -> None:
        if "nowhere" in path:
            raise MediaError("there is no such file", where=path, mend="give another")
        self.done.append((sense, path))

    def ask(self, text: str) -> Iterator[str]:
        if "long" in text:
            raise DataError("the newest message takes 9 tokens of 8", mend="shorten it")
        self.left_out += 2 * ("again" in text)
        self.done.append(text)
        return iter([f"{word} " for word in f"you said {text}".split()])

    def reset(self) -> None:
        self.done.append("reset")

    def save(self, path: str) -> None:
        self.done.append(("save", path))


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Talk:
    """A conversation that is opened for every run but ``classifier``."""
    from sensorium.jobs import chat as job

    made = Talk()

    def open_chat(run: str, *, system: str | None, decoding: Any) -> Talk:
        if run == "classifier":
            raise RunError(
                "this run classifies and does not talk", where=run, mend="answer rows with: sensorium predict"
            )
        made.done.append((run, system, decoding.temperature, decoding.max_new_tokens, decoding.seed))
        return made

    monkeypatch.setattr(job, "open_chat", open_chat)
    return made


@pytest.fixture
def piped(
    sensorium: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, talk: Talk
) -> Callable[..., tuple[int, str, list[str]]]:
    """``sensorium chat`` with lines on stdin: its exit code, stdout, and the lines of stderr behind the first."""

    def call(lines: str, *words: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode()), encoding="utf-8"))
        said = sensorium("chat", *(words or ("runs/x",)))
        return said.code, said.out, said.err.splitlines()[1:]

    return call


# -- through a pipe --------------------------------------------------------------------------------


def test_each_line_is_answered_and_nothing_else_is_on_stdout(piped: Callable[..., Any], talk: Talk) -> None:
    assert piped("what is it?\n\n  and this?  ") == (0, "you said what is it? \nyou said and this? \n", [])
    assert talk.done[1:] == ["what is it?", "and this?"]


def test_flags_are_handed_over(piped: Callable[..., Any], talk: Talk) -> None:
    line = "runs/x --image a.png --image b.png --audio q.wav --system brief --temperature 0.5 --max-tokens 9 --seed 4"
    assert piped("hello\n", *line.split())[0] == 0
    assert talk.done[0] == ("runs/x", "brief", 0.5, 9, 4)
    assert talk.done[1:4] == [("image", "a.png"), ("image", "b.png"), ("audio", "q.wav")]


def test_commands_do_what_they_say(piped: Callable[..., Any], talk: Talk) -> None:
    lines = [
        "/image 'my cat.png'",
        "/audio my\\ cat.wav",
        "what is it?",
        "/save talk.jsonl",
        "/reset",
        "/help",
        "//slash",
    ]
    code, out, notes = piped("\n".join(lines))
    assert (code, out) == (0, "you said what is it? \nyou said /slash \n")
    assert talk.done[1:] == [
        ("image", "my cat.png"),
        ("audio", "my cat.wav"),
        "what is it?",
        ("save", "talk.jsonl"),
        "reset",
        "/slash",
    ]
    assert notes[:4] == [
        "(my cat.png goes with your next question)",
        "(my cat.wav goes with your next question)",
        "(saved in talk.jsonl)",
        "(a new conversation)",
    ]
    assert all(len(line) <= 80 for line in notes)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/imgae a.png", "error: unknown command /imgae; did you mean /image?"),
        ("/what", "error: unknown command /what; /help lists the commands"),
        ("/image", "error: /image needs a file; write /image FILE"),
        ("/image nowhere.png", "error: nowhere.png: there is no such file; give another"),
        ("a long question", "error: the newest message takes 9 tokens of 8; shorten it"),
    ],
)
def test_a_mistake_is_one_line_and_the_conversation_goes_on(piped: Callable[..., Any], line: str, said: str) -> None:
    assert piped(f"{line}\nstill there?\n") == (2, "you said still there? \n", [said])


def test_turns_that_no_longer_fit_are_told(piped: Callable[..., Any]) -> None:
    notes = piped("once\nagain\n")[2]
    assert notes == ["(the oldest 2 messages no longer fit the context and are left out)"]


def test_bytes_that_are_no_text_do_not_end_it(piped: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = piped("\udcff".encode("utf-8", "surrogateescape").decode("latin-1") + "\n")
    assert code == 0 and out.startswith("you said")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("classifier",), "error: classifier: this run classifies and does not talk; answer rows with: sensorium predict"),
        (("runs/x", "--image", "nowhere.png"), "error: nowhere.png: there is no such file; give another"),
        (("runs/x", "--max-tokens", "0"), "error: invalid value for '--max-tokens'"),
        (("runs/x", "--temperature", "-1"), "error: invalid value for '--temperature'"),
    ],
)  # fmt: skip
def test_a_start_that_cannot_be_is_one_line_and_exit_2(piped: Callable[..., Any], words: Any, line: str) -> None:
    code, out, notes = piped("hello\n", *words)
    assert (code, out) == (2, "")
    assert line in notes or not notes  # of a flag, the only line is the first


# -- on a terminal ---------------------------------------------------------------------------------

SLOW = """
import sys, time
from sensorium.cli.main import main
from sensorium.jobs import chat
from tests.cli.test_chat import Talk

class Slow(Talk):
    def ask(self, text):
        def words():
            for number in range(40 if text != "for ever" else 100_000):
                time.sleep(0 if text != "for ever" else 0.02)
                yield f"word{number} "
        return words()

chat.open_chat = lambda run, system, decoding: Slow()
main(["chat", "runs/x"])
"""


def _on_a_terminal_of_its_own() -> None:
    """So that Ctrl-C is for this process, which heeds it even where the tests run in the background of a shell."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Terminal:
    """A process on a terminal of 80 columns; ``seen`` is what it wrote and nobody has looked at yet."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        command = [sys.executable, "-c", SLOW]
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=_on_a_terminal_of_its_own,
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def press_until(self, key: str, text: str) -> str:
        """Press ``key`` until ``text`` comes: CPython's readline waits on where a signal falls between two of its waits."""
        for _ in range(10):
            self.type(key)
            try:
                return self.until(text, 5)
            except AssertionError:
                continue
        return self.until(text, 5)

    def until(self, text: str, seconds: float = 60) -> str:
        """Read on until ``text`` comes, and no further; what came before it."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, f"no {text!r} in {self.seen[-500:]!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65_536).decode()
        before, _, self.seen = self.seen.partition(text)
        return before


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.process.kill()
    made.process.wait()
    os.close(made.master)


def test_a_terminal_is_talked_with_and_left(terminal: Terminal) -> None:
    terminal.until("you> ")
    terminal.type("hello\n")
    answer = terminal.until("you> ")
    lines = answer.replace("\r", "").split("\n")
    assert all(len(line) <= 80 for line in lines)
    assert sum("word" in line for line in lines) > 3  # wrapped between words
    assert " ".join(" ".join(lines).split()).count("word39") == 1
    terminal.type("for ever\n")
    terminal.until("word5 ")
    terminal.type("\x03")  # Ctrl-C
    terminal.until("(stopped)")
    terminal.until("you> ")
    terminal.type("half a quest")
    terminal.until("half a quest")  # it is being read
    terminal.press_until("\x03", "(Ctrl-D leaves)")
    terminal.until("you> ")
    terminal.type("hello\n")
    terminal.until("word39")
    terminal.until("you> ")
    terminal.type("\x04")  # Ctrl-D
    assert terminal.process.wait(60) == 0


def test_a_termination_ends_it_though_an_interrupt_does_not(terminal: Terminal) -> None:
    terminal.until("you> ")
    for _ in range(10):  # readline waits on where a signal falls between two of its waits: see press_until
        terminal.process.send_signal(signal.SIGTERM)
        try:
            assert terminal.process.wait(5) == 130
            return
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("SIGTERM was not heeded")


# -- lines -----------------------------------------------------------------------------------------


def written(pieces: list[str], width: int | None) -> str:
    out = io.StringIO()
    wrapped = Wrapped(out, width)
    for piece in pieces:
        wrapped.write(piece)
    wrapped.end()
    return out.getvalue()


@pytest.mark.parametrize(
    ("pieces", "width", "text"),
    [
        (["one t", "wo three"], 9, "one two\nthree\n"),
        (["exactly ten"], 11, "exactly ten\n"),
        (["a\n", "  b\n\nc"], 20, "a\n  b\n\nc\n"),  # lines and indents of the answer's own stay
        (["abc", "def", "ghi jk"], 6, "abcdef\nghi jk\n"),
        (["狐は赤い動物"], 6, "狐は赤\nい動物\n"),  # two columns each
        (["one t", "wo three"], None, "one two three\n"),
        ([], 10, "\n"),
    ],
)
def test_lines_break_between_words(pieces: list[str], width: int | None, text: str) -> None:
    assert written(pieces, width) == text


def test_a_word_is_shown_as_soon_as_it_is_whole() -> None:
    out = io.StringIO()
    wrapped = Wrapped(out, 80)
    wrapped.write("one tw")
    assert out.getvalue() == "one"
    wrapped.write("o ")
    assert out.getvalue() == "one two"


def test_the_fake_is_called_as_the_real_job_is() -> None:
    import inspect

    from sensorium.jobs import chat as job

    assert list(inspect.signature(job.open_chat).parameters) == ["run", "system", "decoding"]
    for name in ("show", "ask", "reset", "save"):
        real, fake = (list(inspect.signature(getattr(each, name)).parameters) for each in (job.Chat, Talk))
        assert real == fake
