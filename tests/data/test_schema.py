"""Inference by DESIGN §4's rules, told on tables whose meaning is plain, and every override and refusal."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from sensorium.data.inference import constant, distinct_values, sample
from sensorium.data.schema import Schema, check_columns, infer_schema
from sensorium.data.sources import from_rows, open_source
from sensorium.errors import DataError
from sensorium.recipe import DataRecipe

N = 200


def columns(**more):
    """A mixed table of N rows with a category target y."""
    rng = np.random.default_rng(0)
    base = {
        "id": list(range(N)),
        "photo": [f"img/{i}.JPG" if i % 10 else None for i in range(N)],
        "clip": [f"snd {i}.wav" for i in range(N)],
        "review": [f"a rather nice thing number {i}, all in all" for i in range(N)],
        "price": rng.normal(size=N).tolist(),
        "rooms": rng.integers(0, 5, N).tolist(),
        "colour": rng.choice(["red", "green", "dark blue"], N).tolist(),
        "when": [f"2024-0{i % 9 + 1}-11" for i in range(N)],
        "stamp": [f"2024-05-01T12:{i % 60:02d}:00Z" for i in range(N)],
        "where": [f"{52 + i / 1000:.3f}, {4 + i / 1000:.3f}" for i in range(N)],
        "zip": [f"0{1000 + i % 7}" for i in range(N)],
        "same": ["x"] * N,
        "nothing": [None] * N,
        "uuid": [f"{i:08x}-0000-4000-8000-000000000000" for i in range(N)],
        "y": rng.choice(["yes", "no"], N).tolist(),
    }
    base.update(more)
    return base


def source_of(cells):
    return from_rows(pa.table({name: pa.array(values) for name, values in cells.items()}), name="t.csv")


def schema_of(cells, task="auto", **data):
    return infer_schema(source_of(cells), DataRecipe(source="t.csv", **{"target": "y", **data}), task)


def test_types_of_inputs():
    schema = schema_of(columns())
    assert schema.inputs == {
        "photo": "image",
        "clip": "audio",
        "review": "text",
        "price": "number",
        "rooms": "number",
        "colour": "category",
        "when": "time",
        "stamp": "time",
        "where": "place",
        "zip": "category",
    }
    assert list(schema.inputs) == [name for name in columns() if name in schema.inputs]  # in the table's order
    told = {row["column"]: (row["role"], row["type"], row["reason"]) for row in schema.describe()}
    assert told["id"] == ("left out", "", "counts or names the rows")
    assert told["same"] == ("left out", "", "the same in every row")
    assert told["nothing"] == ("left out", "", "empty")
    assert told["uuid"][0] == "left out" and told["y"][:2] == ("target", "category")
    assert list(told) == list(columns())
    assert any(line.startswith("photo: input image (100%") for line in schema.lines())


@pytest.mark.parametrize(
    ("values", "kind", "task", "classes"),
    [
        (["b", "a"] * 10, "category", "classify", ["a", "b"]),
        ([f"c{i % 50}" for i in range(250)], "category", "classify", 50),
        ([f"c{i % 51}" for i in range(300)], "text", "generate", None),  # 51 values
        ([f"c{i % 50}" for i in range(249)], "text", "generate", None),  # 4.98 times each
        ([10, 9, 2] * 2, "category", "classify", ["2", "9", "10"]),
        ([i % 20 for i in range(40)], "category", "classify", 20),
        ([i % 21 for i in range(400)], "number", "classify", None),
        ([1.0, 2.0, None] * 5, "category", "classify", ["1", "2"]),  # whole, though the column has gaps
        ([0.5, 1.0] * 5, "number", "classify", None),
        ([True, False] * 5, "category", "classify", ["false", "true"]),
        (["yes", None, "no", " yes "] * 5, "category", "classify", ["no", "yes"]),
        ([f"answer {i}" for i in range(20)], "text", "generate", None),
        ([*[f"{i}.5" for i in range(60)], "unknown"], "number", "classify", None),
        ([f"0{i}" for i in range(60)], "text", "generate", None),
        (["x", "y", "x", "y"], "text", "generate", None),
    ],
)
def test_the_task_follows_from_the_target(values, kind, task, classes):
    cells = {"text": [f"word {i}, and more of them" for i in range(len(values))], "y": values}
    schema = schema_of(cells)
    assert (schema.target_kind, schema.task) == (kind, task)
    assert schema.classes == classes if not isinstance(classes, int) else len(schema.classes) == classes


def test_classes_are_counted_over_all_rows():
    values = ["a", "b"] * 30_000 + ["rare"]
    schema = schema_of({"text": [f"some text {i} of four words" for i in range(60_001)], "y": values})
    assert schema.classes == ["a", "b", "rare"]


def test_task_and_target_type_can_be_asked_for():
    cells = {"text": [f"some words {i} to read here" for i in range(60)], "y": [i % 3 for i in range(60)]}
    assert schema_of(cells).target_kind == "category"
    asked = schema_of(cells, inputs={"text": "text", "y": "number"})
    assert (asked.target_kind, asked.task, asked.inputs) == ("number", "classify", {"text": "text"})
    assert schema_of(cells, task="generate").target_kind == "text"
    names = {"text": cells["text"], "y": [f"name {i}" for i in range(60)]}
    assert len(schema_of(names, task="classify").classes) == 60
    assert schema_of(names, inputs={"text": "text", "y": "category"}).target_kind == "category"


def test_target_group_and_split_are_never_inputs():
    cells = columns(part=["train", "test"] * (N // 2), owner=[f"o{i % 9}" for i in range(N)])
    by_column = schema_of(cells, split={"column": "part"})
    assert by_column.split == "part" and "part" not in by_column.inputs and "owner" in by_column.inputs
    grouped = schema_of(cells, split={"group_by": "owner"})
    assert grouped.group == "owner" and "owner" not in grouped.inputs and "part" not in grouped.inputs
    note = next(row for row in grouped.describe() if row["column"] == "part")
    assert note["reason"] == "looks like a split; set data.split.column: part to use it"


def test_asked_inputs_hold_and_keep_the_tables_order():
    schema = schema_of(columns(), inputs={"colour": "text", "review": "text", "photo": "image"})
    assert schema.inputs == {"photo": "image", "review": "text", "colour": "text"}
    assert list(schema.inputs) == ["photo", "review", "colour"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"target": None}, r"t\.csv: no target column; name one with --target; columns: id, photo"),
        ({"target": "Y"}, r"data\.target: there is no column Y; did you mean y\?"),
        ({"target": "colur"}, r"there is no column colur; did you mean colour\?"),
        ({"target": "zzzzzzzz"}, "there is no column zzzzzzzz; columns: id, photo"),
        ({"target": "same"}, "column same: every row says x"),
        ({"target": "nothing"}, "column nothing: every cell is missing"),
        ({"inputs": {"foto": "image"}}, r"data\.inputs: there is no column foto; did you mean photo\?"),
        ({"inputs": {"y": "category"}}, "no input columns are left"),
        ({"inputs": {"review": "number"}}, r"data\.inputs\.review: no cell is a number \(the first is 'a rather"),
        ({"inputs": {"colour": "time"}}, "no cell is an ISO date"),
        ({"inputs": {"colour": "place"}}, "no cell is latitude, longitude"),
        ({"inputs": {"price": "image"}}, "double cells cannot be image files"),
        ({"inputs": {"price": "place"}}, "double cells cannot be place"),
        ({"inputs": {"price": "time"}}, "double cells cannot be time"),
        ({"inputs": {"bytes": "text"}}, "pictures or sounds cannot be text"),
        ({"target": "bytes"}, "column bytes: a picture or sound cannot be a target"),
        ({"inputs": {"review": "text", "y": "image"}}, "column y: image cannot be a target"),
        ({"inputs": {"price": "number", "y": "number"}}, "column y: holds no numbers"),
        ({"split": {"group_by": "owner"}}, r"data\.split\.group_by: there is no column owner"),
        ({"split": {"by_time": "wen"}}, r"did you mean when\?"),
        ({"split": {"column": "y"}}, "y is both the target and what rows are split by"),
    ],
)
def test_columns_that_cannot_be(data, message):
    cells = columns(bytes=[{"bytes": b"\x89PNG", "path": None}] * N)
    with pytest.raises(DataError, match=message):
        schema_of(cells, **data)


def test_only_rejects_are_left():
    with pytest.raises(DataError, match="no input columns are left"):
        schema_of({"id": list(range(20)), "y": ["a", "b"] * 10})


def test_media_bytes_and_times_from_typed_tables():
    import io
    import wave

    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(100))
    cells = {
        "picture": [None, *[{"bytes": b"\x89PNG\r\n", "path": None}] * 9],
        "sound": [{"bytes": file.getvalue(), "path": "x"}] * 10,
        "webp": [{"bytes": b"RIFF1234WEBPVP8 ", "path": None}] * 10,
        "paths": [{"bytes": None, "path": f"{i}.mp3"} for i in range(10)],
        "day": [datetime.date(2024, 5, 1 + i) for i in range(10)],
        "y": ["a", "b"] * 5,
    }
    assert schema_of(cells).inputs == {
        "picture": "image",
        "sound": "audio",
        "webp": "image",
        "paths": "audio",
        "day": "time",
    }


def test_numbers_with_a_few_words_among_them_are_numbers():
    cells = {"n": ["1.5", "2", "unknown", *["3"] * 60], "y": (["a", "b"] * 32)[:63]}
    schema = schema_of(cells)
    assert schema.inputs == {"n": "number"}
    assert "the others count as missing" in schema.describe()[0]["reason"]


def test_a_datasets_own_defaults_hold_until_overridden(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_bytes(b"x" + name.encode())
    recipe = DataRecipe(source=str(tmp_path / "p"))
    source = open_source(recipe, tmp_path / "cache")
    schema = infer_schema(source, recipe, "classify")
    assert (schema.inputs, schema.target, schema.classes) == ({"image": "image"}, "label", ["cat", "dog"])


def test_a_chats_schema(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "n": 1}\n')
    recipe = DataRecipe(source=str(path))
    source = open_source(recipe, tmp_path / "cache")
    schema = infer_schema(source, recipe)
    assert (schema.messages, schema.target, schema.inputs, schema.task) == ("messages", None, {}, "generate")
    with pytest.raises(DataError, match="chat logs are answered, not classified"):
        infer_schema(source, recipe, "classify")


def test_schemas_survive_json():
    import json

    schema = schema_of(columns(), split={"group_by": "colour"})
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_another_table_is_checked_against_the_schema():
    schema = schema_of({"text": [f"w {i} x y z" for i in range(10)], "y": ["a", "b"] * 5})
    other = source_of({"text": ["new"], "z": [1]})
    check_columns(schema, other, need_target=False)
    with pytest.raises(DataError, match="there is no column y"):
        check_columns(schema, other, need_target=True)
    with pytest.raises(DataError, match=r"there is no column text; did you mean test\?"):
        check_columns(schema, source_of({"test": ["new"]}), need_target=False)


def test_the_sample_is_bounded_and_fixed():
    chunks = [[f"{i} " + "x" * 2000 for i in range(start, start + 5000)] for start in range(0, 40_000, 5000)]
    column = pa.chunked_array([pa.array(chunk, pa.large_string()) for chunk in chunks])
    cells = sample(column)
    assert len(cells) == 2048 + 16 * 512 and cells.equals(sample(column))
    assert max(len(cell) for cell in cells.to_pylist()) == 1024
    numbers = [int(cell.split()[0]) for cell in cells.to_pylist()]
    assert len(set(numbers)) == len(numbers) and max(numbers) > 20_000


def test_constant_and_distinct_look_at_every_row():
    late = pa.chunked_array(
        [pa.array(["a"] * 5000, pa.large_string()), pa.array(["a"] * 4999 + ["b"], pa.large_string())]
    )
    assert not constant(late) and constant(late.slice(0, 9999))
    assert distinct_values(late, 5) == {"a": 9999, "b": 1}
    assert distinct_values(late, 1) is None
