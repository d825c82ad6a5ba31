"""``translate``: texts, lines of a file or of stdin into another language, in their order, as they come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from sensorium.errors import DataError, RunError
from sensorium.recipe import Recipe
from sensorium.run import Run

TOGETHER = 32  # lines that are translated in one batch, at the most
LONGEST = 100_000  # bytes of a line: what is longer is no sentence


class Translates(Protocol):
    """What an opened run must do; ``jobs.translation.opened.OpenedTranslator`` is one."""

    @property
    def recipe(self) -> Recipe: ...

    @property
    def directions(self) -> list[str]: ...

    @property
    def most_tokens(self) -> int: ...

    def tokens(self, texts: list[str]) -> list[int]: ...

    def translate(
        self,
        texts: list[str],
        source: str,
        target: str,
        pictures: list[Path | bytes | None] | None = None,
        beam: int | None = None,
    ) -> list[str]: ...


def sees_pictures(translator: Translates) -> bool:
    """Whether the run learnt to look at pictures."""
    asked = translator.recipe.translation
    return asked is not None and asked.picture is not None


def open_run(run: str | Path) -> Translates:
    """The translator of a run.

    Raises:
        RunError: the run is not finished, or translates nothing.
    """
    recipe = Run.read(Path(run)).resolved()
    if recipe is None or recipe.translation is None:
        raise RunError("the run does not translate", where=str(run), mend="give a run whose recipe has translation")
    from sensorium.jobs.translation.opened import open_translator

    return open_translator(Path(run))


def translate_batches(
    translator: Translates,
    batches: Iterable[list[str]],
    source: str,
    target: str,
    picture: Path | bytes | None = None,
    beam: int | None = None,
    name: str = "text",
) -> Iterator[list[str]]:
    """Translations of each batch, one line a text; white space alone stays an empty line.

    Args:
        source, target: as ``tasks.translation_directions.chosen_direction`` gives them.
        picture: shown with every text. name: what the batches come from, for messages.

    Raises:
        DataError: the run sees no pictures, or a text is longer than the model reads; those of earlier batches were given.
        MediaError: the picture cannot be read.
    """
    if picture is not None and not sees_pictures(translator):
        raise DataError("this run sees no pictures", where="--image", mend="leave it out")
    before = 0
    for texts in batches:
        spoken = [i for i, text in enumerate(texts) if text.strip()]
        for i, count in zip(spoken, translator.tokens([texts[i].strip() for i in spoken]), strict=True):
            if count > translator.most_tokens:
                raise DataError(
                    f"line {before + i + 1} takes {count:,} tokens, and the model reads {translator.most_tokens:,}",
                    where=name,
                    mend="part it into sentences",
                )
        before += len(texts)
        found = [""] * len(texts)
        if spoken:
            shown: list[Path | bytes | None] | None = None if picture is None else [picture] * len(spoken)
            said = translator.translate([texts[i].strip() for i in spoken], source, target, pictures=shown, beam=beam)
            for i, text in zip(spoken, said, strict=True):
                found[i] = " ".join(text.split())  # a line for a line
        yield found


def batches_of(stream: BinaryIO, name: str, most: int = TOGETHER) -> Iterator[list[str]]:
    """Lines of a stream, as many together as have come: a slow writer is answered line by line, a file in full batches.

    Raises:
        DataError: a line is no UTF-8 or longer than ``LONGEST`` bytes; its number is named. The lines before it come first.
    """
    lines: queue.Queue[str | BaseException | None] = queue.Queue(maxsize=4 * most)
    threading.Thread(target=_read, args=(stream, name, lines), daemon=True).start()
    over = False
    while not over:
        batch: list[str] = []
        while len(batch) < most:
            try:
                # The first line is waited for; those behind it are taken where they are there already.
                line = lines.get(block=not batch)
            except queue.Empty:
                break
            if line is None or isinstance(line, BaseException):
                over = True
                break
            batch.append(line)
        if batch:
            yield batch
        if over and isinstance(line, BaseException):
            raise line


def _read(stream: BinaryIO, name: str, lines: queue.Queue[str | BaseException | None]) -> None:
    """Lines into the queue, then None, or what went wrong."""
    number = 0
    try:
        while raw := stream.readline(LONGEST + 1):
            number += 1
            if len(raw) > LONGEST:
                raise DataError(
                    f"line {number} is longer than {LONGEST:,} bytes", where=name, mend="write one sentence a line"
                )
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            lines.put(raw.decode("utf-8").rstrip("\r\n"))
        lines.put(None)
    except UnicodeDecodeError as error:
        where = f"line {number} is not UTF-8 at byte {error.start + 1}"
        lines.put(DataError(where, where=name, mend="save the text as UTF-8"))
    except (DataError, OSError, ValueError) as error:
        lines.put(error)
