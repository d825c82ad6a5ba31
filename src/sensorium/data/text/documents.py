"""Documents from text files and tables of any size, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from sensorium.data.readers.chunks import Chunk
from sensorium.data.readers.detect import detect
from sensorium.data.sources import FILE_READERS
from sensorium.data.text.lines import text_lines
from sensorium.errors import DataError
from sensorium.modalities.text import clean

PartedBy = Literal["blank_line", "line"]
TEXT = (".txt", ".text", ".md", ".raw")
LONGEST = 1 << 20  # characters; a longer document of several lines is cut between two of them
NOTED = 100  # rows set aside whose places are kept


@dataclass
class Documents:
    """Texts of several files, read anew by each ``iter``.

    Attributes:
        paths: text files (.txt, .md, also packed as .gz) or tables (JSON Lines, Parquet, CSV, Arrow).
        parted_by: in text files a blank line parts documents, or every line is one; in tables every row is one.
        column: of tables; ``text``, or the only column of text, by default.
        set_aside: (place, reason) of rows that could not be read in the latest pass, the first ``NOTED`` of them.

    Texts are cleaned as ``modalities.text`` does, white space at both ends is taken off, and empty ones are passed over.
    Memory is that of one document, or of one chunk of a table.

    Raises (while reading):
        DataError: a file is missing, empty, cut, or not UTF-8; a table has no column of text; nothing is left.
    """

    paths: list[Path]
    parted_by: PartedBy = "blank_line"
    column: str | None = None
    set_aside: list[tuple[str, str]] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        self.set_aside.clear()
        found = False
        for path in text_files(self.paths):
            for text in self._of(path):
                text = clean(text).strip()
                if text:
                    found = True
                    yield text
        if not found:
            raise DataError("there is no text", where=str(self.paths[0]), mend="give a file with words in it")

    def _of(self, path: Path) -> Iterator[str]:
        format_ = _format(path)
        if format_ == "text":
            lines = text_lines(path, "document")
            return lines if self.parted_by == "line" else _blocks(lines)
        return self._rows(path, format_)

    def _rows(self, path: Path, format_: str) -> Iterator[str]:
        column, before = self.column, 0
        for chunk in FILE_READERS[format_]([path]):
            for number, reason in chunk.skipped:
                if reason and len(self.set_aside) < NOTED:
                    self.set_aside.append((f"{path.name} row {number + 1}", reason))
            before += chunk.rows
            if not chunk.rows:
                continue
            column = column or text_column(chunk, path)
            if column not in chunk.columns:  # JSON Lines: a chunk in which no object has it
                if before == chunk.rows:
                    raise _no_column(path, f"there is no column {column}", chunk)
                continue
            cells = chunk.columns[column]
            yield from (cell for cell in pc.cast(cells, pa.large_string()).to_pylist() if cell)


def text_files(paths: list[Path]) -> list[Path]:
    """The files to read: a folder stands for the text files and tables right below it, by name.

    Raises:
        DataError: a folder holds none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [p for p in sorted(path.iterdir()) if p.is_file() and _known(p)]
        if not inside:
            raise DataError(
                "the folder holds no text files", where=str(path), mend="give .txt, .jsonl or .parquet files"
            )
        found += inside
    return found


def text_column(chunk: Chunk, path: Path) -> str:
    """``text``, or the only column of text. Raises DataError where neither is."""
    texts = [name for name, cells in chunk.columns.items() if pa.types.is_large_string(cells.type)]
    if "text" in texts:
        return "text"
    if len(texts) != 1:
        raise _no_column(path, "several columns hold text" if texts else "no column holds text", chunk)
    return texts[0]


def _no_column(path: Path, what: str, chunk: Chunk) -> DataError:
    known = ", ".join(list(chunk.columns)[:20])
    return DataError(what, where=str(path), mend=f"name the column that holds the documents; columns: {known}")


def _blocks(lines: Iterator[str]) -> Iterator[str]:
    """Lines between blank ones, joined; a block beyond ``LONGEST`` characters is cut between two lines."""
    block: list[str] = []
    size = 0
    for line in lines:
        if block and (size + len(line) > LONGEST or not line.strip()):
            yield "\n".join(block)
            block, size = [], 0
        if line.strip():
            block.append(line)
            size += len(line) + 1
    if block:
        yield "\n".join(block)


def _format(path: Path) -> str:
    if _suffix(path) in TEXT:
        return "text"
    try:
        return detect([path], "auto", str(path))[0]
    except DataError:
        if path.is_file() and not _known(path):
            return "text"  # no name tells otherwise: read as text, which says what is wrong with it
        raise


def _known(path: Path) -> bool:
    return not path.name.startswith(".") and _suffix(path) in (*TEXT, ".jsonl", ".ndjson", ".parquet", ".pq", ".arrow")


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix
