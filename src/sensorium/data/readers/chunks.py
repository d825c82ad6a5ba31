"""From any reader's chunks to one Arrow file: column kinds widen as rows arrive, memory stays that of one chunk.

A reader yields ``Chunk``s. ``convert`` writes them with the kinds seen so far; when a late chunk needs a wider
kind (an integer column that holds a word in row 900,000, a JSON key that first appears there) the rest is only
looked at, and a second pass writes everything with the kinds that are then known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sensorium.errors import DataError

ROWS = 8192  # rows of one chunk, where a reader may choose
MAX_COLUMNS = 10_000
MEDIA = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])
TYPES: dict[str, pa.DataType] = {
    "null": pa.large_string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "time": pa.timestamp("us"),
    "media": MEDIA,
    "string": pa.large_string(),
}
# What stands for "missing" in a column whose other cells are numbers. In a text column only the empty cell is
# missing: "NA" may be Namibia and "None" a class.
MISSING = ["", "NA", "N/A", "n/a", "na", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "Null", "None", "none", "-", "?"]
INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"  # no leading zero: 007 and 01234 are codes, not numbers; 18 digits fit int64
NUMBER = r"^[-+]?(([0-9]|[1-9][0-9]+)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,4})?$"


@dataclass
class Chunk:
    """Rows of one file: columns of equal length, and the rows among or after them that could not be parsed.

    ``skipped`` holds (number of the row in its file, from 0 and counting skipped ones; reason); an empty reason
    (a blank line) is not reported.
    """

    file: int
    columns: dict[str, pa.Array]
    rows: int
    skipped: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Tally:
    """What went into an Arrow file: for each source file its rows and the rows skipped."""

    rows: list[int]
    skipped: list[list[tuple[int, str]]]

    def add(self, chunk: Chunk) -> None:
        self.rows[chunk.file] += chunk.rows
        self.skipped[chunk.file].extend(chunk.skipped)


def convert(
    read: Callable[[], Iterator[Chunk]], path: Path, names: list[str], *, numbers_in_text: bool = False
) -> Tally:
    """Write all chunks into the Arrow IPC file ``path``; ``read`` is called again when kinds had to widen.

    Args:
        names: of the source files, for messages; ``Chunk.file`` counts them.
        numbers_in_text: columns of text whose every cell is a number (or stands for a missing one) become numbers.

    Raises:
        DataError: more than half of a file's rows cannot be parsed, or there are too many columns.
        OSError: the file cannot be written.
    """
    kinds: dict[str, str] = {}
    while True:
        tally, written, seen = _write(read(), path, names, kinds, numbers_in_text)
        if seen == written:
            return tally
        kinds = seen


def _write(
    chunks: Iterator[Chunk], path: Path, names: list[str], kinds: dict[str, str], numbers_in_text: bool
) -> tuple[Tally, dict[str, str], dict[str, str]]:
    """One pass: what was counted, the kinds the file was written with, and the kinds its rows turned out to need."""
    tally = Tally([0] * len(names), [[] for _ in names])
    written, seen = dict(kinds), dict(kinds)
    writer: pa.ipc.RecordBatchFileWriter | None = None
    with pa.OSFile(str(path), "wb") as sink:
        for chunk in chunks:
            tally.add(chunk)
            _refuse_mostly_malformed(tally, names, allowed=10_000)
            widen(seen, chunk.columns, numbers_in_text)
            if not chunk.rows:
                continue
            written = written or dict(seen)
            if seen != written:
                continue  # only look: another pass will write
            writer = writer or pa.ipc.new_file(sink, _schema(written))
            arrays = [cast(chunk.columns.get(name), kind, chunk.rows) for name, kind in written.items()]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=_schema(written)))
        writer = writer or pa.ipc.new_file(sink, _schema(written))
        writer.close()
    _refuse_mostly_malformed(tally, names, allowed=0)
    return tally, written, seen


def _schema(kinds: dict[str, str]) -> pa.Schema:
    return pa.schema([(name, TYPES[kind]) for name, kind in kinds.items()])


def _refuse_mostly_malformed(tally: Tally, names: list[str], allowed: int) -> None:
    for name, rows, skipped in zip(names, tally.rows, tally.skipped, strict=True):
        if len(skipped) <= max(allowed, rows):
            continue
        reasons = [reason for _, reason in skipped if reason]
        if len(reasons) > max(allowed, rows):
            what = (
                f"{len(reasons):,} of {rows + len(reasons):,} rows cannot be parsed, the first because it {reasons[0]}"
            )
            raise DataError(what, where=name, mend="check the delimiter, the header and data.format")


# -- kinds -----------------------------------------------------------------------------------------


def widen(kinds: dict[str, str], columns: dict[str, pa.Array], numbers_in_text: bool) -> None:
    """Widen ``kinds`` in place so that every cell of ``columns`` fits."""
    for name, array in columns.items():
        known = kinds.get(name, "null")
        if known != "string" or not numbers_in_text:
            kinds[name] = join(known, kind_of(array, numbers_in_text))
    if len(kinds) > MAX_COLUMNS:
        raise DataError(f"more than {MAX_COLUMNS:,} columns", mend="turn keys that vary from row to row into values")


def kind_of(array: pa.Array, numbers_in_text: bool) -> str:
    """The narrowest kind that holds a canonical array."""
    kind = next(kind for kind, type_ in TYPES.items() if kind != "null" and type_ == array.type)
    if array.null_count == len(array):
        return kind if kind == "media" else "null"
    if kind != "string" or not numbers_in_text:
        return kind
    values = pc.utf8_trim_whitespace(array)
    values = values.filter(pc.invert(pc.is_in(values, value_set=_MISSING)))
    values = values.drop_null()
    if not len(values):
        return "null"
    if pc.all(pc.match_substring_regex(values, INTEGER)).as_py():
        return "int"
    return "float" if pc.all(pc.match_substring_regex(values, NUMBER)).as_py() else "string"


_MISSING = pa.array(MISSING, pa.large_string())


def join(one: str, other: str) -> str:
    """The narrowest kind that holds both."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    pair = {one, other}
    if pair == {"int", "float"}:
        return "float"
    return "media" if pair == {"media", "string"} else "string"


def cast(array: pa.Array | None, kind: str, rows: int) -> pa.Array:
    """``array`` as the Arrow type of ``kind``; nulls where the chunk lacks the column."""
    type_ = TYPES[kind]
    if array is None or (array.null_count == len(array) and array.type != type_):
        return pa.nulls(rows, type_)
    if array.type == type_:
        return array
    if kind == "media":  # paths in one file, bytes in another
        return pa.StructArray.from_arrays([pa.nulls(rows, pa.large_binary()), array], fields=list(MEDIA))
    if kind in ("int", "float") and pa.types.is_large_string(array.type):
        trimmed = pc.utf8_trim_whitespace(array)
        present = pc.if_else(pc.is_in(trimmed, value_set=_MISSING), pa.scalar(None, pa.large_string()), trimmed)
        # Arrow's parser knows no leading plus sign
        return pc.cast(pc.replace_substring_regex(present, r"^\+", ""), type_)
    if kind == "string" and array.type == MEDIA:
        return pc.struct_field(array, "path")
    return pc.cast(array, type_)


def canonical(array: pa.Array | pa.ChunkedArray, name: str) -> pa.Array:
    """Any Arrow array as one of the six types that tables here have; nested values become JSON text.

    Raises:
        DataError: a column holds lists of pictures or sounds.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        array = array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)
    if isinstance(array, pa.ExtensionArray):
        return canonical(array.storage, name)
    type_, is_ = array.type, pa.types
    if is_.is_dictionary(type_):
        return canonical(array.dictionary_decode(), name)
    if is_.is_null(type_):
        return pa.nulls(len(array), pa.large_string())
    if is_.is_boolean(type_):
        return pc.if_else(array, pa.scalar("true", pa.large_string()), pa.scalar("false", pa.large_string()))
    if is_.is_integer(type_):
        try:
            return pc.cast(array, pa.int64())
        except pa.ArrowInvalid:  # unsigned numbers past 2^63
            return pc.cast(array, pa.float64(), safe=False)
    if is_.is_floating(type_) or is_.is_decimal(type_):
        return pc.cast(array, pa.float64(), safe=False)
    if is_.is_string(type_) or is_.is_large_string(type_) or is_.is_string_view(type_):
        return pc.cast(array, pa.large_string())
    if is_.is_timestamp(type_) or is_.is_date(type_):
        return pc.cast(array, pa.timestamp("us"), safe=False)
    if is_.is_binary(type_) or is_.is_large_binary(type_) or is_.is_fixed_size_binary(type_):
        return _media(pc.cast(array, pa.large_binary()), pa.nulls(len(array), pa.large_string()), array.is_null())
    if is_.is_struct(type_) and type_.num_fields and (names := {f.name for f in type_}) <= {"bytes", "path"}:
        return _media_struct(array, names)
    if _holds_bytes(type_):
        raise DataError(f"column {name} holds several pictures or sounds a row", mend="give each its own column")
    texts = [
        None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in array.to_pylist()
    ]
    return pa.array(texts, pa.large_string())


def _media_struct(array: pa.StructArray, names: set[str]) -> pa.Array:
    rows = len(array)
    data = (
        pc.cast(pc.struct_field(array, "bytes"), pa.large_binary())
        if "bytes" in names
        else pa.nulls(rows, pa.large_binary())
    )
    path = (
        pc.cast(pc.struct_field(array, "path"), pa.large_string())
        if "path" in names
        else pa.nulls(rows, pa.large_string())
    )
    return _media(data, path, pc.and_(data.is_null(), path.is_null()))


def _media(data: pa.Array, path: pa.Array, missing: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays([data, path], fields=list(MEDIA), mask=missing)


def _holds_bytes(type_: pa.DataType) -> bool:
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
        return True
    return any(_holds_bytes(type_.field(i).type) for i in range(type_.num_fields)) if type_.num_fields else False


def from_values(values: list[Any]) -> pa.Array:
    """Python values, as JSON gives them, as a canonical array: one type of number or text, else everything as text."""
    types = {type(value) for value in values} - {type(None)}
    try:
        if types <= {int} and types:
            return pa.array(values, pa.int64())
        if types <= {int, float} and types:
            return pa.array([None if v is None else float(v) for v in values], pa.float64())
    except (OverflowError, pa.ArrowInvalid):
        pass  # past 64 bits: a code rather than a quantity
    if types <= {str}:
        return pa.array(values, pa.large_string())
    return pa.array([value_text(value) for value in values], pa.large_string())


def value_text(value: Any) -> str | None:
    """A value as the text of its cell: texts as they are, nested values as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
