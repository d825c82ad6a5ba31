"""Cells as examples hold them, against their plain Python values; rows that travel to workers as a path."""

import datetime
import pickle

import numpy as np
import pyarrow as pa
import pytest

from sensorium.data.messages import TextPart
from sensorium.data.rows import Example, Rows, to_number, to_place, to_reference, to_text, to_time
from sensorium.data.schema import Schema, infer_schema
from sensorium.data.sources import from_rows, open_source
from sensorium.errors import DataError
from sensorium.recipe import DataRecipe

TYPES = {"p": "image", "s": "audio", "t": "text", "n": "number", "c": "category", "w": "time", "g": "place"}
FULL = {
    "p": {"bytes": b"\x89PNG", "path": None},
    "s": "a.wav",
    "t": " some words ",
    "n": 3,
    "c": " red ",
    "w": "2024-05-01T14:00:00+02:00",
    "g": "52.1, -4.3",
}


def rows_of(cells, kind="text", indices=None):
    table = {name: pa.array([row.get(name) for row in cells]) for name in [*TYPES, "y"]}
    table = {name: a.cast(pa.string()) if a.type == pa.null() else a for name, a in table.items()}
    schema = Schema(dict(TYPES), "y", kind, "generate" if kind == "text" else "classify", ["1", "2"])
    return Rows(from_rows(pa.table(table)), schema, indices)


def test_cells_become_values():
    rows = rows_of([{**FULL, "y": "an answer"}, {}])
    assert rows[0] == Example(
        0,
        {
            "p": {"bytes": b"\x89PNG", "path": None},
            "s": "a.wav",
            "t": " some words ",
            "n": 3.0,
            "c": "red",
            "w": datetime.datetime(2024, 5, 1, 12),
            "g": (52.1, -4.3),
        },
        "an answer",
    )
    assert rows[1] == Example(1, dict.fromkeys(TYPES), None)
    assert isinstance(rows[0].inputs["n"], float) and len(rows) == 2 and [e.row for e in rows] == [0, 1]


@pytest.mark.parametrize(
    ("convert", "value", "expected"),
    [
        (to_text, "", None),
        (to_text, " \n", None),
        (to_text, 3.0, "3"),
        (to_text, 2.5, "2.5"),
        (to_text, {"bytes": b"x"}, None),
        (to_text, datetime.datetime(2024, 5, 1), "2024-05-01 00:00:00"),
        (to_number, "1e3", 1000.0),
        (to_number, float("nan"), None),
        (to_number, "inf", None),
        (to_number, "n/a", None),
        (to_time, "2024-05-01", datetime.datetime(2024, 5, 1)),
        (to_time, "2024-05-01 10:00:00,5", datetime.datetime(2024, 5, 1, 10, 0, 0, 500_000)),
        (to_time, "2024-13-01", None),
        (to_time, "soon", None),
        (to_time, 2024, None),
        (to_place, "[52, 4]", (52.0, 4.0)),
        (to_place, "-90;180", (-90.0, 180.0)),
        (to_place, "91,4", None),
        (to_place, "here", None),
        (to_reference, {"bytes": None, "path": "a.png"}, "a.png"),
        (to_reference, {"bytes": b"", "path": ""}, None),
        (to_reference, " a.png ", "a.png"),
        (to_reference, " ", None),
        (to_reference, 3, None),
    ],
)
def test_one_cell(convert, value, expected):
    assert convert(value) == expected


def test_targets_by_kind():
    cells = [{"y": "1"}, {"y": " 2 "}, {"y": ""}, {"y": "x"}]
    assert [e.target for e in rows_of(cells, "category")] == ["1", "2", None, "x"]
    assert [e.target for e in rows_of(cells, "number")] == [1.0, 2.0, None, None]
    assert [e.target for e in rows_of([{"y": 1}, {"y": 2}], "category")] == ["1", "2"]


def test_rows_without_a_target_are_rows_to_predict():
    schema = Schema({"t": "text"}, "y", "text", "generate")
    assert Rows(from_rows([{"t": "words"}]), schema)[0] == Example(0, {"t": "words"}, None)


def test_indices_take_and_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("t,n,y\n" + "".join(f"text {i} of words,{i / 2},{i % 2}\n" for i in range(100)))
    recipe = DataRecipe(source=str(path), target="y")
    source = open_source(recipe, tmp_path / "cache")
    rows = Rows(source, infer_schema(source, recipe), np.array([7, 3, 50]))
    assert [example.row for example in rows] == [7, 3, 50] and rows[0].inputs["n"] == 3.5
    assert [example.row for example in rows.take(np.array([2, 0]))] == [50, 7]
    assert rows.column("n") == [3.5, 1.5, 25.0] and rows.column("y") == ["1", "1", "0"]
    assert rows.column("t", np.array([1])) == ["text 3 of words"]
    assert Rows(source, rows.schema).column("n")[:3] == [0.0, 0.5, 1.0]
    with pytest.raises(DataError, match="there is no column z"):
        rows.column("z")
    with pytest.raises(IndexError):
        rows[3]
    data = pickle.dumps(rows)
    assert len(data) < 3000 and pickle.loads(data)[1] == rows[1]


def test_chats(tmp_path):
    path = tmp_path / "c.jsonl"
    good = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}\n'
    path.write_text(good + '{"messages": [{"role": "user", "content": "alone"}]}\n{"messages": []}\n')
    recipe = DataRecipe(source=str(path))
    source = open_source(recipe, tmp_path / "cache")
    rows = Rows(source, infer_schema(source, recipe))
    assert rows[0].target == "ho" and rows[0].inputs["messages"][0].parts == (TextPart("hi"),)
    assert rows[1].target is None and rows[1].inputs["messages"][0].text == "alone"  # one to be answered yet
    with pytest.raises(DataError, match=r"c\.jsonl line 3: messages are no list"):
        rows[2]
