"""The ``sensorium`` command: its verbs, and what every one of them does when something goes wrong.

Exit codes: 0 done; 2 the user's input is wrong (one line on stderr: what, where, mend); 130 interrupted after a
safe checkpoint; 1 a defect of ours. A traceback is shown with ``--debug`` alone.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
import warnings
from typing import Annotated

import typer

from sensorium.cli import assets, chat, data, demo, draw, evaluate, fit, predict, recommend, serve, translate
from sensorium.errors import SensoriumError

app = typer.Typer(
    name="sensorium",
    rich_markup_mode=None,  # plain help: quick, and examples keep their lines
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def _sensorium(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback with every error (with any command).")
    ] = False,
) -> None:
    """Teach a GPT to see, hear and read your data, and prove that it got better.

    \b
    Start here:
      sensorium demo                                   the main job on real bundled data
      sensorium fit --data listings.csv --target label your own table, nothing else needed
      sensorium fit recipes/emoji-ask.yaml             a described job; the same command resumes it
    """
    if version:
        from sensorium import __version__

        typer.echo(f"sensorium {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("fit")(fit.fit)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("recommend")(recommend.recommend)
app.command("translate")(translate.translate)
app.command("draw")(draw.draw)
app.command("edit", short_help="Change a picture as words say.")(draw.edit)
app.command("caption")(draw.caption)
app.command("chat")(chat.chat)
app.command("serve", short_help="Serve a run to OpenAI's clients, with a page to talk to it.")(serve.serve)
app.add_typer(data.app, name="data", short_help="Say what is wrong with data, or show what the model sees.")
app.add_typer(assets.app, name="assets", short_help="List, fetch and verify pretrained parts and data sets.")
app.command("demo", short_help="Teach a real GPT about real pictures, in minutes.")(demo.demo)


def main(arguments: list[str] | None = None) -> None:
    """The console script: run ``arguments`` (``sys.argv`` by default) and exit with the command's code."""
    words = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGTERM, _leave)  # training has its own way; before and after it nothing is lost either
    if "--debug" not in words:
        _hush_libraries()
    try:
        code = run(words)
    except KeyboardInterrupt:  # asked again before the first was heeded to its end
        code = _interrupted()
    _ask_no_more()
    sys.exit(code)


def _leave(number: int, frame: object) -> None:
    """Leave, and ask again every second until it is heeded: a library that is being imported may swallow what is raised."""
    sys.unraisablehook = _tell_unraisable
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _leave)
        signal.setitimer(signal.ITIMER_REAL, 1)
    raise KeyboardInterrupt


def _ask_no_more() -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _interrupted() -> int:
    """Say that the command was interrupted; its exit code."""
    _ask_no_more()
    print("interrupted; the same command goes on where it stopped", file=sys.stderr)
    return 130


def _tell_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """What is raised in a ``__del__`` cannot be raised on: of our own wish to leave there is nothing to tell."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def _hush_libraries() -> None:
    """Stderr is for our own lines: no warnings and bars of libraries between them. What the user set holds."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every failure becomes one line on stderr."""
    debug = "--debug" in arguments  # taken wherever it stands: it is what one adds to a line that failed
    words = [word for word in arguments if word != "--debug"]
    try:
        code = typer.main.get_command(app).main(args=words, prog_name="sensorium", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except SystemExit as exit_:  # typer's answer to a closed pipe: `sensorium assets | head -1` is no failure
        return _quiet() if isinstance(exit_.__context__, OSError) else int(exit_.code or 0)
    except BrokenPipeError:
        return _quiet()
    except Exception as error:  # noqa: BLE001 - the last line of defence turns anything into one line
        if debug:
            traceback.print_exc()
        line, code = _explain(error)
        print(line, file=sys.stderr)
        return code
    if code == 130:
        return _interrupted()
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> tuple[str, int]:
    """One line for ``error``, and the exit code."""
    if isinstance(error, SensoriumError):
        return f"error: {error}" if error.exit_code != 130 else str(error), error.exit_code
    if isinstance(error, typer.TyperException):
        return f"error: {_usage(error)}", error.exit_code
    if isinstance(error, MemoryError):
        return "error: out of memory; lower training.micro_batch_size or model.image_size", 2
    if isinstance(error, OSError) and error.errno in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
    ):
        mend = (
            "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "give a place that you may write to"
        )
        return f"error: {SensoriumError(str(error.strerror), where=str(error.filename or 'disk'), mend=mend)}", 2
    what = SensoriumError(f"{type(error).__name__}: {error}").what
    return f"defect: {what}; this is ours, not yours: rerun with --debug and report what it shows", 1


def _usage(error: typer.TyperException) -> str:
    """The parser's complaint as one line with the near word and where help is."""
    option = getattr(error, "option_name", None)
    possible = sorted(getattr(error, "possibilities", None) or [])
    message = error.message if option and hasattr(error, "possibilities") else error.format_message()
    what = message.replace("Input should be", "should be").rstrip(".?").replace(". Did you mean ", "; did you mean ")
    what = what[:1].lower() + what[1:] + ("?" if "did you mean" in what else "")
    if option and hasattr(error, "possibilities"):
        keys = [f"--set {key}=…" for key in _recipe_keys(str(option))]
        near = " or ".join(possible + keys)
        what += f"; did you mean {near}?" if near else ""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "sensorium"
    return SensoriumError(f"{what} (see {command} --help)").what


def _recipe_keys(option: str) -> list[str]:
    """Recipe keys that end in the name of an unknown ``option``: ``--epochs`` is ``training.epochs``."""
    from sensorium.recipe import Recipe

    name = option.lstrip("-").replace("-", "_")
    parts = {key: field.annotation for key, field in Recipe.model_fields.items()}
    return [f"{part}.{name}" for part, kind in parts.items() if name in getattr(kind, "model_fields", {})]


def _quiet() -> int:
    """Nobody reads our output any more: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    main()
