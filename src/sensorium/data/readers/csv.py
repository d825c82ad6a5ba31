"""CSV and TSV: Arrow's block parser, with every way in which a file can be wrong named by file and line."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from sensorium.data.readers.chunks import Chunk
from sensorium.errors import DataError

BLOCK = 1 << 20  # bytes parsed at once
LARGEST_ROW = 64 << 20  # bytes; a longer row is an error
BROKEN = (EOFError, OSError, zlib.error)  # what reading a cut or damaged file raises
MAGIC = {
    b"PK\x03\x04": "an Excel or zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF",
    b"SQLite format": "a database",
}
ENCODINGS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked where they are gzip.

    Raises:
        DataError: the file cannot be opened.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", where=str(path), mend="check the path and its permissions"
        ) from None
    if file.peek(2)[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    return file


@dataclass(frozen=True)
class TextScan:
    """What one look through a text file found."""

    nul: bool
    odd_quotes: bool
    longest_line: int  # bytes
    longest_record: int  # bytes, line feeds between quotes included


def scan_text(path: Path) -> TextScan:
    """Read a text file through once.

    Raises:
        DataError: it is empty, is no text, or is not UTF-8; the message gives line and byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, lines, quotes, nul, longest = 0, 1, 0, False, _Longest()
    try:
        with open_bytes(path) as file:
            while block := file.read(1 << 20):
                if not offset:
                    refuse_other_formats(block, path)
                pending = len(decoder.getstate()[0])
                try:
                    decoder.decode(block)
                except UnicodeDecodeError as error:
                    at = error.start - pending
                    _refuse_encoding(path, lines + block[: max(0, at)].count(b"\n"), offset + at)
                nul = nul or b"\0" in block
                here = block.count(b'"')
                quotes += here
                longest.add(block, here)
                lines += block.count(b"\n")
                offset += len(block)
    except BROKEN as error:
        raise DataError(
            f"cannot be read to its end ({error})", where=str(path), mend="fetch or pack the file again"
        ) from None
    if decoder.getstate()[0]:
        _refuse_encoding(path, lines, offset - len(decoder.getstate()[0]))
    if not offset:
        raise DataError("the file is empty", where=str(path), mend="give a file with a header and rows")
    return TextScan(nul, quotes % 2 == 1, longest.line, longest.record)


class _Longest:
    """The longest line and record so far, fed block by block. Those inside one block (1 MiB) are never long."""

    def __init__(self) -> None:
        self.line = self.record = 0
        self._line = self._record = 0  # bytes of the open ones
        self._quoted = False

    def add(self, block: bytes, quotes: int) -> None:
        first, last = block.find(b"\n"), block.rfind(b"\n")
        self.line, self._line = _ended(self.line, self._line, len(block), first, last)
        if quotes or self._quoted:  # a line feed between quotes ends no record
            data = np.frombuffer(block, dtype=np.uint8)
            inside = np.cumsum(data == ord('"'), dtype=np.int32) + self._quoted
            ends = np.flatnonzero((data == ord("\n")) & (inside % 2 == 0))
            first, last = (int(ends[0]), int(ends[-1])) if len(ends) else (-1, -1)
            self._quoted = bool(inside[-1] % 2)
        self.record, self._record = _ended(self.record, self._record, len(block), first, last)


def _ended(longest: int, run: int, size: int, first: int, last: int) -> tuple[int, int]:
    return (max(longest, run + size), run + size) if first < 0 else (max(longest, run + first), size - last - 1)


def refuse_other_formats(start: bytes, path: Path) -> None:
    """Raise a DataError where the first bytes are those of a known binary format or of another encoding."""
    for magic, name in MAGIC.items():
        if start.startswith(magic):
            raise DataError(f"holds {name}, not text", where=str(path), mend="save it as CSV or set data.format")
    for magic, name in ENCODINGS.items():
        if start.startswith(magic):
            raise DataError(f"is {name} text", where=str(path), mend="save it as UTF-8")
    if start[:4096].count(b"\0") > len(start[:4096]) // 10:
        raise DataError("is a binary file, not text", where=str(path), mend="save it as UTF-8 text")


def _refuse_encoding(path: Path, line: int, byte: int) -> None:
    raise DataError(
        f"byte {byte + 1} (line {line}) is not UTF-8",
        where=str(path),
        mend="save the file as UTF-8, for example with iconv -f latin1 -t utf8",
    )


def read_csv(paths: list[Path], delimiter: str | None = None) -> Iterator[Chunk]:
    """Chunks of CSV files, every cell as text; rows with too few or too many cells are skipped with a reason.

    Args:
        delimiter: one character; by default the one of ``, ; tab |`` that the header has most of.
    """
    for number, path in enumerate(paths):
        scan = scan_text(path)
        if scan.longest_line > LARGEST_ROW:
            _refuse_length(path, "a line")
        if scan.odd_quotes:
            _refuse_open_quote(path, delimiter or _delimiter(path))
        yield from _one_file(number, path, delimiter or _delimiter(path), scan)


def _one_file(number: int, path: Path, delimiter: str, scan: TextScan) -> Iterator[Chunk]:
    raw = _header(path, delimiter)
    names = _column_names(raw, path)
    skipped: list[tuple[int, str]] = []  # filled by Arrow while it parses

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        cells = f"{row.actual_columns} cell{'s' if row.actual_columns != 1 else ''}"
        skipped.append((row.number - 2, f"has {cells} where the header has {row.expected_columns}"))
        return "skip"

    # Arrow cannot grow a block midway: where a row is long, every block is of the largest size
    block = BLOCK if scan.longest_record < BLOCK // 2 else LARGEST_ROW
    done = sent = 0
    with open_bytes(path) as file:
        try:
            reader = pyarrow.csv.open_csv(
                file,
                read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=block),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types={name: pa.large_string() for name in raw},
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=True,
                    check_utf8=False,  # scan_text did
                ),
            )
            for batch in reader:
                keep, extra = _without_nul(batch, done, skipped) if scan.nul else (batch, [])
                done += batch.num_rows
                # Arrow parses ahead: what it has skipped so far may lie behind this batch, which does no harm
                fresh, sent = skipped[sent:], len(skipped)
                columns = dict(zip(names, keep.columns, strict=True))
                yield Chunk(number, columns, keep.num_rows, sorted(fresh + extra))
        except pa.ArrowInvalid as error:
            if "straddling" in str(error):
                _refuse_length(path, f"a row after row {done}")
            raise DataError(
                f"cannot be parsed as CSV ({error})", where=str(path), mend="check delimiter and quotes"
            ) from None
    if skipped[sent:]:
        yield Chunk(number, {}, 0, skipped[sent:])


def _refuse_length(path: Path, what: str) -> None:
    mend = "close its quote, or move the long cell to a file of its own"
    raise DataError(f"{what} is longer than {LARGEST_ROW >> 20} MiB", where=str(path), mend=mend)


def _without_nul(
    batch: pa.RecordBatch, done: int, skipped: list[tuple[int, str]]
) -> tuple[pa.RecordBatch, list[tuple[int, str]]]:
    bad = np.zeros(batch.num_rows, dtype=bool)
    for column in batch.columns:
        bad |= pc.fill_null(pc.match_substring(column, "\0"), False).to_numpy(zero_copy_only=False)
    ordinals = place_among(np.flatnonzero(bad) + done, np.array(sorted(n for n, _ in skipped), dtype=np.int64))
    return batch.filter(pa.array(~bad)), [(int(n), "holds a NUL byte") for n in ordinals]


def place_among(good: np.ndarray, skipped: np.ndarray) -> np.ndarray:
    """Row numbers in the file, from 0, of the ``good``-th rows that were not skipped; ``skipped`` is sorted."""
    return good + np.searchsorted(skipped - np.arange(len(skipped)), good, side="right")


# -- the header and the quotes ---------------------------------------------------------------------


def _header_lines(path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="")


def _delimiter(path: Path) -> str:
    if path.name.removesuffix(".gz").lower().endswith((".tsv", ".tab")):
        return "\t"
    with _header_lines(path) as lines:
        first = next((line for line in lines if line.strip()), "")
    outside = "".join(first.split('"')[::2])
    best = max(",;\t|", key=outside.count)
    return best if outside.count(best) else ","


def _header(path: Path, delimiter: str) -> list[str]:
    limit = csv.field_size_limit(LARGEST_ROW)
    try:
        with _header_lines(path) as lines:
            for row in csv.reader(lines, delimiter=delimiter):
                if row:
                    return row
    except csv.Error as error:
        raise DataError(f"the header cannot be parsed ({error})", where=str(path), mend="check its quotes") from None
    finally:
        csv.field_size_limit(limit)
    raise DataError("the file holds only blank lines", where=str(path), mend="give a file with a header and rows")


def _column_names(raw: list[str], path: Path) -> list[str]:
    names = [name.strip() or f"column_{i + 1}" for i, name in enumerate(raw)]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DataError(
                f"columns {names.index(name) + 1} and {i + 1} are both named {name}",
                where=str(path),
                mend="give each column its own name",
            )
    return names


def _refuse_open_quote(path: Path, delimiter: str) -> None:
    """Raise where a quote is opened and never closed: everything behind it would silently become one cell."""
    limit = csv.field_size_limit(LARGEST_ROW)
    try:
        with _header_lines(path) as lines:
            reader, start = csv.reader(lines, delimiter=delimiter, strict=True), 1
            while True:
                start = reader.line_num + 1
                try:
                    next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    if "unexpected end" in str(error) or "field larger" in str(error):
                        break
    finally:
        csv.field_size_limit(limit)
    raise DataError(
        f"a quote opened in the row at line {start} is never closed",
        where=str(path),
        mend='close it, or write "" for a quote in a cell',
    )
