"""What a table's columns mean: inferred by fixed rules, overridable, and shown with reasons."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from sensorium.data.inference import (
    LEADING_ZERO,
    LEAST_EACH,
    MOST_CATEGORIES,
    MOST_WHOLE,
    MOSTLY,
    PLACE,
    TIME,
    distinct_values,
    sample,
    share_of,
    tell,
    whole,
)
from sensorium.data.readers.chunks import MEDIA, NUMBER
from sensorium.data.readers.folder import PARTS
from sensorium.data.tables import Source
from sensorium.errors import DataError
from sensorium.recipe import ColumnType, DataRecipe

TargetKind = Literal["category", "number", "text"]
MOST_CLASSES = 10_000  # where task: classify is asked for


@dataclass
class Schema:
    """The meaning of a table's columns.

    ``inputs``: type by column, in the table's order. ``target_kind``: category (classify), number (classify, by
    regression) or text (generate). ``classes``: of category targets, sorted, whole numbers by size. ``group``: rows
    with equal values there stay in one split. ``split``: the column that parts the rows, where the data bring one.
    ``messages``: the column of chats; then the target is each chat's last answer, and ``inputs`` are cells that the
    first user's turn tells. ``by``: columns that are not read, by which results are given where they have few values.
    ``notes``: (column, role, type, reason) for every column.
    """

    inputs: dict[str, ColumnType]
    target: str | None
    target_kind: TargetKind
    task: Literal["classify", "generate"]
    classes: list[str] | None = None
    group: str | None = None
    split: str | None = None
    messages: str | None = None
    by: list[str] = field(default_factory=list)
    notes: list[tuple[str, str, str, str]] = field(default_factory=list)

    def describe(self) -> list[dict[str, str]]:
        """One row a column, for display: column, role (input, target, group, split, left out), type, reason."""
        return [dict(zip(("column", "role", "type", "reason"), note, strict=True)) for note in self.notes]

    def lines(self) -> list[str]:
        """``describe`` as lines of text, and what follows for the task."""
        told = [
            ": ".join([name, " ".join(filter(None, (role, type_)))]) + f" ({reason})"
            for name, role, type_, reason in self.notes
        ]
        return [*told, f"task: {self.task}" + (", regression" if self.target_kind == "number" else "")]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``Schema.from_dict`` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Schema:
        return cls(**{**raw, "notes": [tuple(note) for note in raw.get("notes", [])]})


def infer_schema(source: Source, data: DataRecipe, task: str = "auto") -> Schema:
    """The schema of ``source`` by DESIGN §4's rules and the recipe's overrides.

    A target named in ``data.inputs`` gets its kind from there (number: regressed, category: classified, text:
    generated) and is never an input. Without ``data.inputs`` or ``data.target``, what a bundled data set or the
    format says of itself holds.

    Raises:
        DataError: a column is not there (the near one is named), there is no target or it cannot be learnt,
            or no inputs are left.
    """
    columns, defaults = source.table.column_names, source.defaults
    split = data.split.column
    group = data.split.group_by or (None if split or data.split.by_time else defaults.get("group_by"))
    for key, name in (("group_by", group), ("column", split), ("by_time", data.split.by_time)):
        if name is not None:
            require(name, columns, f"data.split.{key}")
    if "messages" in defaults and data.target is None:
        return _chat(defaults["messages"], columns, task, source, data)
    wanted = data.inputs
    if wanted is None and data.target in (None, defaults.get("target")) and "inputs" in defaults:
        wanted = defaults["inputs"]
    target = data.target or defaults.get("target")
    if target is not None:
        require(target, columns, "data.target")
    for name in wanted or {}:
        require(name, columns, "data.inputs")
    if target is None:
        raise DataError("no target column", where=source.name, mend=f"name one with --target; columns: {_few(columns)}")
    if target in (group, split, data.split.by_time):
        raise DataError(
            f"{target} is both the target and what rows are split by", where="data.split", mend="choose another column"
        )
    schema = _with_target(source, target, (wanted or {}).get(target), task)
    schema.group = group
    schema.split = split or given_split(source, data)
    _choose_inputs(source, schema, wanted, data.inputs is not None)
    if not schema.inputs:
        raise DataError(
            "no input columns are left", where=source.name, mend=f"name them in data.inputs; columns: {_few(columns)}"
        )
    order = {name: i for i, name in enumerate(columns)}
    schema.inputs = dict(sorted(schema.inputs.items(), key=lambda item: order[item[0]]))
    schema.notes.sort(key=lambda note: order[note[0]])
    return schema


def require(name: str, columns: Iterable[str], where: str) -> None:
    """Raise a DataError that names the near column where ``name`` is none of ``columns``."""
    columns = list(columns)
    if name not in columns:
        near = difflib.get_close_matches(name, columns, n=1) or [c for c in columns if c.lower() == name.lower()]
        mend = f"did you mean {near[0]}?" if near else f"columns: {_few(columns)}"
        raise DataError(f"there is no column {name}", where=where, mend=mend)


def check_columns(schema: Schema, source: Source, *, need_target: bool) -> None:
    """Raise a DataError unless another source (for ``predict`` or ``evaluate``) has the schema's columns."""
    needed = [schema.messages] if schema.messages else list(schema.inputs)
    for name in [*needed, *([schema.target] if need_target and schema.target else [])]:
        if name is not None:
            require(name, source.table.column_names, source.name)


def _chat(column: str, columns: list[str], task: str, source: Source, data: DataRecipe) -> Schema:
    if task == "classify":
        raise DataError("chat logs are answered, not classified", where=source.name, mend="set task: generate")
    split = data.split.column or given_split(source, data)
    own = not data.split.by_time and data.split.column in (None, source.defaults.get("split"))
    group = data.split.group_by or (source.defaults.get("group_by") if own else None)
    told = {name: kind for name, kind in (data.inputs or {}).items() if name != column}
    for name, kind in told.items():
        require(name, columns, "data.inputs")
        if kind in ("image", "audio"):
            what = f"{kind} columns are not read beside a chat"
            raise DataError(what, where=f"data.inputs.{name}", mend="put pictures and sounds into the turns")
        check_type(source.table.column(name), kind, f"data.inputs.{name}")
    apart = {group: "group", split: "split"}
    notes, by = [], []
    for name in columns:
        if name == column:
            notes.append(
                (name, "messages", "chat", "chat messages; every answer is taught, the last one is the target")
            )
        elif name in told:
            notes.append((name, "input", told[name], "told in the first user's turn"))
        else:
            notes.append((name, apart.get(name, "left out"), "", "of a chat log, the messages alone are read"))
            if name not in apart and pa.types.is_large_string(source.table.column(name).type):
                by.append(name)
    inputs = {name: told[name] for name in columns if name in told}
    return Schema(inputs, None, "text", "generate", group=group, split=split, messages=column, by=by, notes=notes)


# -- the target ------------------------------------------------------------------------------------


def _with_target(source: Source, target: str, wanted: str | None, task: str) -> Schema:
    column = source.table.column(target)
    if column.type == MEDIA or wanted in ("image", "audio", "time", "place"):
        raise DataError(
            f"{wanted or 'a picture or sound'} cannot be a target",
            where=f"column {target}",
            mend="choose a column of classes, numbers or text",
        )
    kind, classes, reason = _target_kind(column, target, wanted, task)
    note = (target, "target", kind, reason)
    chosen: Literal["classify", "generate"] = "generate" if kind == "text" else "classify"
    return Schema({}, target, kind, chosen, classes, notes=[note])


def _target_kind(
    column: pa.ChunkedArray, target: str, wanted: str | None, task: str
) -> tuple[TargetKind, list[str] | None, str]:
    is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    as_classes = wanted == "category" or (task == "classify" and not is_number)
    most = MOST_CLASSES if as_classes else max(MOST_CATEGORIES, MOST_WHOLE)
    counts = distinct_values(column, most)
    if counts is not None and not counts:
        raise DataError("every cell is missing", where=f"column {target}", mend="choose another target")
    if counts is not None and len(counts) == 1 and len(column) > 1:
        raise DataError(
            f"every row says {next(iter(counts))}", where=f"column {target}", mend="choose a target that varies"
        )
    if task == "generate" or wanted == "text":
        return "text", None, "text to generate"
    if wanted == "number":
        if not is_number and not share_of(sample(column).drop_null(), NUMBER):
            raise DataError("holds no numbers", where=f"column {target}", mend="let its type be inferred")
        return "number", None, "a number, regressed as asked"
    if as_classes:
        if counts is None:
            raise DataError(
                f"more than {MOST_CLASSES:,} classes",
                where=f"column {target}",
                mend="set task: generate, or choose another target",
            )
        return "category", _sorted(counts), f"{len(counts)} classes, as asked"
    if is_number:
        if counts is not None and len(counts) <= MOST_WHOLE and whole(column):
            return (
                "category",
                _sorted(counts),
                f"{len(counts)} distinct whole numbers (at most {MOST_WHOLE}): classified",
            )
        return "number", None, "other numbers: regressed"
    if counts is not None and sum(counts.values()) >= LEAST_EACH * len(counts):
        return (
            "category",
            _sorted(counts),
            f"{len(counts)} distinct values (at most {MOST_CATEGORIES}, each {LEAST_EACH} times on average): classified",
        )
    if pa.types.is_large_string(column.type):
        share = share_of(sample(column).drop_null(), NUMBER)
        if share >= MOSTLY and not share_of(sample(column).drop_null(), LEADING_ZERO):
            return "number", None, f"{share:.1%} of the cells are numbers: regressed, the others count as missing"
    return "text", None, "other text: generated"


def _sorted(counts: dict[object, int]) -> list[str]:
    names = [str(name) for name in counts]
    if all(re.fullmatch(r"-?\d{1,18}", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


# -- the inputs ------------------------------------------------------------------------------------


def _choose_inputs(source: Source, schema: Schema, wanted: dict[str, ColumnType] | None, asked: bool) -> None:
    apart = {schema.split: "split", schema.group: "group"}
    for name in source.table.column_names:
        if name == schema.target:
            continue
        column = source.table.column(name)
        if wanted is not None:
            if name in wanted:
                check_type(column, wanted[name], f"data.inputs.{name}")
                schema.inputs[name] = wanted[name]
                schema.notes.append(
                    (name, "input", wanted[name], "as the recipe says" if asked else "as the data set says")
                )
            else:
                role = apart.get(name, "left out")
                schema.notes.append(
                    (
                        name,
                        role,
                        "",
                        "keeps rows together"
                        if role == "group"
                        else "parts the rows"
                        if role == "split"
                        else "not among the inputs",
                    )
                )
            continue
        if name in apart:
            schema.notes.append(
                (name, apart[name], "", "keeps rows together" if name == schema.group else "parts the rows")
            )
            continue
        if _names_parts(source, name):
            reason = f"looks like a split; set data.split.column: {name} to use it"
            schema.notes.append((name, "left out", "", reason))
            continue
        told = tell(name, column)
        if told.type is None:
            schema.notes.append((name, "left out", "", told.reason))
        else:
            schema.inputs[name] = told.type  # type: ignore[assignment]
            schema.notes.append((name, "input", told.type, told.reason))


def check_type(column: pa.ChunkedArray, type_: ColumnType, where: str) -> None:
    """Refuse a type that not one cell of the sample can have."""
    media = column.type == MEDIA
    if type_ in ("image", "audio"):
        if not media and not pa.types.is_large_string(column.type):
            raise DataError(
                f"{column.type} cells cannot be {type_} files", where=where, mend="give paths, or another type"
            )
        return
    if media:
        raise DataError(f"pictures or sounds cannot be {type_}", where=where, mend="set its type to image or audio")
    if pa.types.is_large_string(column.type) and type_ in ("number", "time", "place"):
        pattern = {"number": NUMBER, "time": TIME, "place": PLACE}[type_]
        cells = pc.utf8_trim_whitespace(sample(column).drop_null())
        cells = cells.filter(pc.not_equal(cells, ""))
        if len(cells) and not share_of(cells, pattern):
            shape = {
                "number": "a number",
                "time": "an ISO date such as 2024-05-01",
                "place": "latitude, longitude such as 52.1,4.3",
            }[type_]
            raise DataError(
                f"no cell is {shape} (the first is {str(cells[0])[:40]!r})",
                where=where,
                mend="correct the type or the cells",
            )
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if (type_ == "place" and not pa.types.is_large_string(column.type)) or (type_ == "time" and numeric):
        raise DataError(f"{column.type} cells cannot be {type_}", where=where, mend="choose another type")


# -- splits that the data bring --------------------------------------------------------------------


def _names_parts(source: Source, name: str) -> bool:
    """Whether a column holds nothing but the names of a split's parts, train among them."""
    column = source.table.column(name)
    if not pa.types.is_large_string(column.type):
        return False
    counts = distinct_values(column, len(PARTS))
    parts = {PARTS.get(str(value).lower()) for value in counts or {}}
    return "train" in parts and None not in parts and len(parts) > 1


def given_split(source: Source, data: DataRecipe) -> str | None:
    """The column ``split`` that folders, parallel files or `datasets` gave, where it parts off a test set."""
    recipe = data.split
    if not source.defaults.get("split") or recipe.by_time or recipe.group_by:
        return None
    column = str(source.defaults["split"])
    counts = distinct_values(source.table.column(column), len(PARTS)) or {}
    return column if {"train", "test"} <= {PARTS.get(str(value).lower()) for value in counts} else None


def _few(columns: list[str]) -> str:
    return ", ".join(columns[:12]) + (f" and {len(columns) - 12} more" if len(columns) > 12 else "")
