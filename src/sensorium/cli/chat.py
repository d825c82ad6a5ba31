"""``sensorium chat``: talk with a run in the terminal, or through a pipe."""

from __future__ import annotations

import contextlib
import difflib
import shutil
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.console import printable
from sensorium.cli.wrapping import Wrapped
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.jobs.chat import Chat

WIDEST = 80  # columns: longer lines are hard to read
HELP = """\
/image FILE   show a picture with your next question
/audio FILE   let it hear a sound with your next question
/reset        forget the conversation and begin anew
/save FILE    write the conversation as chat JSONL
/help         these lines
//text        say "/text" instead of giving a command
Ctrl-C stops an answer, Ctrl-D leaves."""


def chat(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder.")],
    image: Annotated[
        list[str] | None, typer.Option("--image", metavar="FILE", help="A picture for the first question; repeatable.")
    ] = None,
    audio: Annotated[
        list[str] | None, typer.Option("--audio", metavar="FILE", help="A sound for the first question; repeatable.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="What the model is told before all else.")
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0 is greedy; more is freer.")] = 0.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Tokens of an answer at the most.")] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of sampling, where the temperature is above 0.")] = 0,
) -> None:
    """Talk with a run about pictures, sounds and words.

    Each line is a question; lines that begin with / are commands, and /help lists them. Through a pipe, stdout holds
    the answers alone, and the exit code is 2 if a line could not be answered.

    \b
    Examples:
      sensorium chat runs/emoji-ask --image cat.png
      echo "which group?" | sensorium chat runs/emoji-ask --image cat.png
    """
    note(f"opening {run} …")
    from sensorium.jobs import chat as job
    from sensorium.models.decoding import DecodingSettings

    decoding = DecodingSettings(max_new_tokens=max_tokens, temperature=temperature, seed=seed)
    talk = job.open_chat(run, system=system, decoding=decoding)
    for file in image or []:
        talk.show("image", file)
    for file in audio or []:
        talk.show("audio", file)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    with _terminable():
        wrong = _converse(talk, _typed() if terminal else _piped(), terminal)
    if wrong and not terminal:
        raise typer.Exit(2)


def note(text: str) -> None:
    """Say something that is no answer, so that stdout holds answers alone."""
    print(printable(text), file=sys.stderr, flush=True)


# -- the conversation ------------------------------------------------------------------------------


def _converse(talk: Chat, lines: Iterator[str], terminal: bool) -> bool:
    """Answer line after line; whether any of them was a mistake, which is told and does no more."""
    wrong = False
    for line in lines:
        try:
            if line.startswith("/") and not line.startswith("//"):
                _command(talk, line)
            elif line.strip():
                _answer(talk, line.strip().removeprefix("/") if line.startswith("//") else line.strip(), terminal)
        except SensoriumError as error:
            note(f"error: {error}")
            wrong = True
        except OSError as error:  # a full disk, a folder that may not be written to: the conversation goes on
            note(f"error: {SensoriumError(str(error.strerror), where=str(error.filename or 'disk'))}")
            wrong = True
    return wrong


def _answer(talk: Chat, text: str, terminal: bool) -> None:
    known = talk.left_out
    pieces = talk.ask(text)
    if talk.left_out > known:
        note(f"(the oldest {talk.left_out} messages no longer fit the context and are left out)")
    wrapped = Wrapped(sys.stdout, min(shutil.get_terminal_size().columns, WIDEST) if terminal else None)
    try:
        for piece in pieces:
            wrapped.write(printable(piece))
    except KeyboardInterrupt:
        if not terminal:
            raise
        wrapped.end()
        note("(stopped)")
    else:
        wrapped.end()


def _command(talk: Chat, line: str) -> None:
    name, _, rest = line.strip().partition(" ")
    path = _path(rest)
    if name in ("/image", "/audio", "/save") and not path:
        raise SensoriumError(f"{name} needs a file", mend=f"write {name} FILE")
    if name == "/image" or name == "/audio":
        talk.show("image" if name == "/image" else "audio", path)
        note(f"({path} goes with your next question)")
    elif name == "/save":
        talk.save(path)
        note(f"(saved in {path})")
    elif name == "/reset":
        talk.reset()
        note("(a new conversation)")
    elif name == "/help":
        note(HELP)
    else:
        near = difflib.get_close_matches(name, ["/image", "/audio", "/reset", "/save", "/help"], n=1)
        mend = f"did you mean {near[0]}?" if near else "/help lists the commands"
        raise SensoriumError(f"unknown command {name}", mend=mend)


def _path(text: str) -> str:
    """A path as typed or as a terminal pastes a dragged file: in quotes, or with escaped spaces."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text.replace("\\ ", " ")


# -- lines in --------------------------------------------------------------------------------------


def _typed() -> Iterator[str]:
    """Lines as they are typed, with editing and history; Ctrl-C takes a line back, Ctrl-D ends."""
    with contextlib.suppress(ImportError):
        import readline

        assert readline  # importing it gives ``input`` its editing
    note("Ask, or write /help. Ctrl-D leaves.")
    while True:
        try:
            yield input("\nyou> ")
        except KeyboardInterrupt:
            note("\n(Ctrl-D leaves)")
        except EOFError:
            print()
            return


def _piped() -> Iterator[str]:
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    for line in sys.stdin:
        yield line.rstrip("\r\n")


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the conversation, where Ctrl-C would only stop an answer."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(130)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
