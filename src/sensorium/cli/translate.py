"""``sensorium translate``: texts, a file or stdin into another language, in their order, as they come."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from sensorium.cli.console import one_json_object, printable
from sensorium.errors import DataError, SensoriumError


def translate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts; stdin by default.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="TAG", help="The language of the texts, such as en.")
    ] = None,
    target: Annotated[str | None, typer.Option("--to", metavar="TAG", help="The language wanted, such as de.")] = None,
    image: Annotated[str | None, typer.Option("--image", metavar="F", help="A picture of what the texts say.")] = None,
    file: Annotated[str | None, typer.Option("--file", metavar="FILE", help="A file with one text a line.")] = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Where translations go, a line each; stdout by default.")
    ] = None,
    beam: Annotated[
        int | None, typer.Option("--beam", min=1, max=64, help="Hypotheses kept; the recipe's by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Translate texts with a trained run, one line each.

    \b
    Examples:
      sensorium translate runs/multi30k --from en --to de "A dog runs over the grass."
      sensorium translate runs/multi30k --to de --file captions.en --out captions.de
      cat captions.en | sensorium translate runs/multi30k --to de
      sensorium translate runs/emoji-names --from en --to fr "red apple" --image apple.png
    """
    if texts and file is not None:
        raise SensoriumError("texts and --file exclude each other", mend="give one of them")
    if file is not None and out is not None and Path(file).resolve() == Path(out).resolve():
        raise SensoriumError("--out would overwrite --file", where=out, mend="give another --out")
    if image is not None and not Path(image).is_file():
        raise DataError("no such file", where=f"--image {image}", mend="give the path of a picture")
    with one_json_object(as_json) as emit, ExitStack() as stack:
        from sensorium.jobs import translate as job
        from sensorium.run import written_beside
        from sensorium.tasks.translation_directions import chosen_direction

        translator = job.open_run(run)
        tags = chosen_direction(translator.directions, source, target)
        picture = None if image is None else Path(image)
        batches = [texts] if texts else job.batches_of(_stream(file, stack), file or "stdin")
        page = None
        if out is not None:
            page = stack.enter_context(stack.enter_context(written_beside(out)).open("w", encoding="utf-8"))
        kept: list[str] = []
        for said in job.translate_batches(
            translator, batches, *tags, picture, beam, file or ("text" if texts else "stdin")
        ):
            kept += said if as_json else []
            for line in said:
                if page is not None:
                    page.write(line + "\n")
                elif not as_json:
                    print(printable(line))
            if page is None:
                sys.stdout.flush()
        emit({"from": tags[0], "to": tags[1], "translations": kept})


def _stream(file: str | None, stack: ExitStack) -> BinaryIO:
    if file is None:
        return sys.stdin.buffer
    try:
        return stack.enter_context(open(file, "rb"))
    except OSError as error:
        mend = "give the path of a text file"
        raise DataError(f"cannot be read ({error.strerror})", where=f"--file {file}", mend=mend) from None
