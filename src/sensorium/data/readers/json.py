"""JSON Lines (chat logs among them) and JSON arrays: a bad line is skipped with a reason, nested values stay JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.data.readers.chunks import ROWS, Chunk, from_values
from sensorium.data.readers.csv import BROKEN, open_bytes, refuse_other_formats
from sensorium.errors import DataError

CHUNK = 4 << 20  # bytes of lines in one chunk
LONGEST_LINE = 64 << 20  # bytes
LARGEST_ARRAY = 1 << 30  # bytes of a .json file, which must be read whole


def read_jsonl(paths: list[Path]) -> Iterator[Chunk]:
    """Chunks of JSON Lines files: one object a line, its keys the columns."""
    for number, path in enumerate(paths):
        yield from _lines(number, path)


def _lines(number: int, path: Path) -> Iterator[Chunk]:
    rows: list[dict[str, Any]] = []
    skipped: list[tuple[int, str]] = []
    size = line_number = 0
    with open_bytes(path) as file:
        while line := _next_line(file, path, line_number):
            if not line_number:
                refuse_other_formats(line, path)
                line = line.removeprefix(b"\xef\xbb\xbf")
            row = parse_line(line)
            if isinstance(row, dict):
                rows.append(row)
            else:
                skipped.append((line_number, row))
            line_number += 1
            size += len(line)
            if len(rows) >= ROWS or size > CHUNK:
                yield chunk_of(number, rows, skipped)
                rows, skipped, size = [], [], 0
    if not line_number:
        raise DataError("the file is empty", where=str(path), mend="give a file with one JSON object a line")
    yield chunk_of(number, rows, skipped)


def _next_line(file: Any, path: Path, line_number: int) -> bytes:
    try:
        line: bytes = file.readline(LONGEST_LINE)
    except BROKEN as error:
        raise _cut(path, error) from None
    if len(line) >= LONGEST_LINE:
        what = f"line {line_number + 1} is longer than {LONGEST_LINE >> 20} MiB"
        raise DataError(what, where=str(path), mend="write one object a line, and large media to files of their own")
    return line


def _cut(path: Path, error: Exception) -> DataError:
    return DataError(f"cannot be read to its end ({error})", where=str(path), mend="fetch or pack the file again")


def parse_line(line: bytes) -> dict[str, Any] | str:
    """The object on a line, or the reason why there is none (empty for a blank line)."""
    if not line.strip():
        return ""
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=lambda _: None)
        if b"\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8 at byte {error.start + 1}"
    except UnicodeEncodeError:
        return "holds half of a surrogate pair"
    except json.JSONDecodeError as error:
        return f"is not JSON at character {error.pos + 1} ({error.msg})"
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of thousands of digits
        return f"cannot be parsed ({error})"
    return row if isinstance(row, dict) else f"is a JSON {_json_type(row)}, not an object"


def _json_type(value: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")


def read_json(paths: list[Path]) -> Iterator[Chunk]:
    """Chunks of JSON files that each hold one array of objects."""
    for number, path in enumerate(paths):
        try:
            with open_bytes(path) as file:
                data = file.read(LARGEST_ARRAY + 1)
        except BROKEN as error:
            raise _cut(path, error) from None
        if len(data) > LARGEST_ARRAY:
            raise DataError(
                "more than 1 GiB of JSON in one array",
                where=str(path),
                mend="write JSON Lines instead, one object a line",
            )
        try:
            items = json.loads(data.decode("utf-8-sig"), parse_constant=lambda _: None)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, ValueError) as error:
            raise DataError(
                f"not valid JSON ({error})", where=str(path), mend="write an array of objects, or JSON Lines"
            ) from None
        if not isinstance(items, list):
            raise DataError(
                f"is a JSON {'object' if isinstance(items, dict) else _json_type(items)}, not an array of objects",
                where=str(path),
                mend="write [{…}, {…}] or JSON Lines",
            )
        for start in range(0, len(items), ROWS):
            part = items[start : start + ROWS]
            bad = [
                (start + i, f"is a JSON {_json_type(row)}, not an object")
                for i, row in enumerate(part)
                if not isinstance(row, dict)
            ]
            yield chunk_of(number, [row for row in part if isinstance(row, dict)], bad)


def chunk_of(file: int, rows: list[dict[str, Any]], skipped: list[tuple[int, str]]) -> Chunk:
    """Objects as columns: the union of their keys in order of appearance, null where an object lacks one."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return Chunk(file, {key: from_values([row.get(key) for row in rows]) for key in keys}, len(rows), skipped)
