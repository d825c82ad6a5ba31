"""Lines of a text file, plain or packed, with every way in which it can be wrong named by line and byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sensorium.data.readers.csv import BROKEN, open_bytes, refuse_other_formats
from sensorium.errors import DataError

LONGEST_LINE = 16 << 20  # bytes


def text_lines(path: Path, each: str = "sentence") -> Iterator[str]:
    """Lines as the line feed alone parts them: other separators stand inside sentences and would break alignment.

    Args:
        path: UTF-8 text, with or without a mark of its order of bytes, plain or gzip.
        each: what a line should hold, for messages.

    Raises:
        DataError: the file is empty, cut, no text, not UTF-8, or has a line beyond 16 MiB.
    """
    number = 0
    with open_bytes(path) as file:
        try:
            while line := file.readline(LONGEST_LINE):
                number += 1
                if number == 1:
                    refuse_other_formats(line, path)
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if len(line) >= LONGEST_LINE:
                    raise DataError(
                        f"line {number} is longer than 16 MiB", where=str(path), mend=f"write one {each} a line"
                    )
                yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"line {number} is not UTF-8 at byte {error.start + 1}", where=str(path), mend="save the file as UTF-8"
            ) from None
        except BROKEN as error:
            raise DataError(
                f"cannot be read to its end ({error})", where=str(path), mend="fetch or pack the file again"
            ) from None
    if not number:
        raise DataError("the file is empty", where=str(path), mend=f"give a file with one {each} a line")
