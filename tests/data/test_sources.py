"""Sources against what was written: values, places, malformed rows, and one clear line for what cannot be read."""

import csv
import gzip
import io
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.data.sources import from_rows, open_source
from sensorium.errors import DataError
from sensorium.recipe import DataRecipe


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") and not data.startswith(b"\x1f\x8b") else data)
    return path


def opened(folder: Path, source: object, **more: object):
    names = source if isinstance(source, list) else [source]
    paths = [str(name) for name in names]
    return open_source(DataRecipe(source=paths if isinstance(source, list) else paths[0], **more), folder / "cache")


def table(folder: Path, name: str, content: str | bytes, **more: object) -> dict[str, list]:
    return opened(folder, write(folder, name, content), **more).table.to_pydict()


# -- CSV -------------------------------------------------------------------------------------------


def test_csv_values_types_and_places(tmp_path):
    source = opened(
        tmp_path, write(tmp_path, "t.csv", 'name,age,score,code\n"Ann, B",3,1.5,007\nBo,,2,010\n"li\nne",-4,NA,1\n')
    )
    assert source.table.to_pydict() == {
        "name": ["Ann, B", "Bo", "li\nne"],
        "age": [3, None, -4],
        "score": [1.5, 2.0, None],
        "code": ["007", "010", "1"],  # leading zeros are codes
    }
    assert [source.place(i) for i in range(3)] == ["t.csv row 1", "t.csv row 2", "t.csv row 3"]
    assert source.root == tmp_path and source.name == "t.csv" and source.malformed == []
    with pytest.raises(IndexError):
        source.place(3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "\ufeffa,b\r\n1,x\r\n2,y\r\n"),
        ("t.csv", "a;b\n1;x\n2;y"),
        ("t.csv", "\n\na|b\n1|x\n\n2|y\n\n"),
        ("t.tsv", "a\tb\n1\tx\n2\ty\n"),
        ("t.csv.gz", "a,b\n1,x\n2,y\n"),
        ("t.jsonl", '{"a": 1, "b": "x"}\n\n{"a": 2, "b": "y"}'),
        ("t.jsonl.gz", '{"a": 1, "b": "x"}\n{"b": "y", "a": 2}\n'),
        ("t.json", '[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]'),
        ("t.json", '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'),
        ("noextension", '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'),
    ],
)
def test_text_formats_give_one_table(tmp_path, name, content):
    assert table(tmp_path, name, content) == {"a": [1, 2], "b": ["x", "y"]}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)] * 3),
        min_size=1,
        max_size=12,
    )
)
def test_csv_agrees_with_the_standard_library(tmp_path, rows):
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("p", "q", "r"), ("word", "word", "word"), *rows])
    got = table(tmp_path, "t.csv", text.getvalue())
    expected = [[cell or None for cell in ("word", *column)] for column in zip(*rows)]
    assert [got["p"], got["q"], got["r"]] == expected


def test_missing_cells_are_explicit_in_numbers_only(tmp_path):
    got = table(tmp_path, "t.csv", "n,country\n1,NA\nN/A,None\nnull,\n-,x\n2.5,y\n")
    assert got == {"n": [1.0, None, None, None, 2.5], "country": ["NA", "None", None, "x", "y"]}


def test_types_that_conflict_late_keep_their_text(tmp_path):
    rows = [f"{i},{i}.50,{i}" for i in range(120_000)]
    rows[-1] = "x,1.5,0.25"
    source = opened(tmp_path, write(tmp_path, "t.csv", "a,b,c\n" + "\n".join(rows)))
    assert [str(t) for t in source.table.schema.types] == ["large_string", "double", "double"]
    assert source.table["a"][0].as_py() == "0" and source.table["a"][119_999].as_py() == "x"
    assert source.table["c"][119_999].as_py() == 0.25 and source.table["c"][119_998].as_py() == 119_998.0
    assert len(source) == 120_000


def test_malformed_rows_are_named_and_places_count_them(tmp_path):
    path = write(tmp_path, "t.csv", "a,b\n1,2\n3\n4,5\n\n6,7,8\n9,10\n11,12\n")
    source = opened(tmp_path, path)
    assert source.table.to_pydict() == {"a": [1, 4, 9, 11], "b": [2, 5, 10, 12]}
    assert source.malformed == [
        ("t.csv row 2", "has 1 cell where the header has 2"),
        ("t.csv row 4", "has 3 cells where the header has 2"),
    ]
    assert [source.place(i) for i in range(4)] == ["t.csv row 1", "t.csv row 3", "t.csv row 5", "t.csv row 6"]
    with pytest.raises(DataError, match=r"t\.csv row 2: has 1 cell.*bad_rows: quarantine"):
        opened(tmp_path, path, bad_rows="stop")


def test_malformed_rows_in_many_blocks(tmp_path):
    rng = random.Random(0)
    lines, good, bad = [], [], []
    for i in range(60_000):
        kind = rng.random()
        lines.append("only" if kind < 0.05 else f"{i},nul\0" if kind < 0.1 else f"{i},{'w' * rng.randrange(60)}")
        (bad if kind < 0.1 else good).append(i)
    source = opened(tmp_path, write(tmp_path, "t.csv", "a,b\n" + "\n".join(lines)))
    assert source.table["a"].to_pylist() == good
    assert [place for place, _ in source.malformed] == [f"t.csv row {i + 1}" for i in bad]
    assert all(source.place(k) == f"t.csv row {good[k] + 1}" for k in range(0, len(good), 997))


def test_long_cells_fit(tmp_path):
    long = "x" * 3_000_000
    assert table(tmp_path, "t.csv", f"a,b\n1,{long}\n2,y\n")["b"] == [long, "y"]
    lines = "some words\n" * 250_000
    assert table(tmp_path, "u.csv", f'a,b\n1,"{lines}"\n2,y\n')["b"] == [lines, "y"]


TEXT_ERRORS = [
    ("t.csv", "", r"t\.csv: the file is empty; give a file with"),
    ("t.csv", "\n\n\n", "only blank lines"),
    ("t.csv", "a,b\n", r"t\.csv: there are no rows"),
    ("t.csv", "a,b,a\n1,2,3\n", r"columns 1 and 3 are both named a; give each"),
    (
        "t.csv",
        "a,b\n1,caf\u00e9\n".encode("latin-1"),
        r"t\.csv: byte 10 \(line 2\) is not UTF-8; save the file as UTF-8",
    ),
    ("t.csv", b"a,b\n" + b"1,x\n" * 300_000 + b"2,\xff\n", r"byte 1200007 \(line 300002\) is not UTF-8"),
    ("t.csv", b"a,b\n1,\xc3", r"byte 7 \(line 2\) is not UTF-8"),
    ("t.csv", "a,b\n1,x\n".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
    ("t.csv", b"PK\x03\x04" + bytes(40), "holds an Excel or zip file, not text"),
    ("t.csv", b"\x89PNG\r\n\x1a\n" + bytes(40), "holds a picture, not text"),
    ("t.csv", bytes(range(256)) * 3 + bytes(900), "is a binary file, not text"),
    ("t.csv", 'a,b\n1,x\n2,"open\n3,y\n4,z\n', r"a quote opened in the row at line 3 is never closed; close it"),
    (
        "t.csv",
        "a,b\n1\n2\n3\n4,5\n",
        r"t\.csv: 3 of 4 rows cannot be parsed, the first because it has 1 cell.*delimiter",
    ),
    ("t.csv", "a,b\n" + "1,a long word\n" + "1,long\0word\n" * 3, "3 of 4 rows.*holds a NUL byte"),
    ("t.csv", b"a,b\n1," + b"x" * (65 << 20) + b"\n2,y\n", "longer than 64 MiB; close its quote"),
    (
        "t.csv.gz",
        gzip.compress(b"a,b\n" + os.urandom(2000).hex().encode())[:-900],
        "cannot be read to its end.*fetch or pack",
    ),
    ("t.csv.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\3" + bytes(range(200)), "cannot be read to its end"),
    ("t.json.gz", b"\x1f\x8b\x08", "cannot be read to its end"),
    ("t.jsonl", "", r"t\.jsonl: the file is empty"),
    ("t.jsonl", "\n \n", "there are no rows"),
    ("t.jsonl", "[1]\n2\n", "2 of 2 rows cannot be parsed, the first because it is a JSON array, not an object"),
    ("t.jsonl", "x,y\n1,2\n", "is not JSON at character 1"),
    ("t.jsonl", b"PAR1\0\0", "holds a Parquet file, not text"),
    ("t.jsonl", b'{"a":"' + b"x" * (65 << 20) + b'"}', "line 1 is longer than 64 MiB; write one object a line"),
    ("t.jsonl", json.dumps({f"k{i}": 1 for i in range(10_001)}), "more than 10,000 columns"),
    ("t.json", "{}", "there are no columns"),
    ("t.json", '[{"a": 1},', "not valid JSON"),
    ("t.json", "[]", "there are no rows"),
    ("t.json", "3", "is a JSON number, not an array"),
    ("t.parquet", "", "not a readable Parquet file"),
    ("t.parquet", b"PAR1" + bytes(50) + b"PAR1", "not a readable Parquet file"),
    ("t.arrow", "hello world", "not a readable Arrow file"),
    ("t.arrow", b"ARROW1\0\0" + bytes(50), "not a readable Arrow file"),
    ("t.xyz", "hello", "the format cannot be told.*set data.format"),
]


@pytest.mark.parametrize(
    ("name", "content", "message"), TEXT_ERRORS, ids=[f"{i}-{e[0]}" for i, e in enumerate(TEXT_ERRORS)]
)
def test_unreadable_files_are_one_clear_line(tmp_path, name, content, message):
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path, path)
    assert "\n" not in str(caught.value) and caught.value.mend
    assert not list((tmp_path / "cache").glob("*/table.arrow")) and not list((tmp_path / "cache").glob(".conv*"))


def test_stray_quotes_inside_cells_are_text(tmp_path):
    assert table(tmp_path, "t.csv", 'a,b\n5" pipe,x\n6,y"z\n7,w"\n')["a"] == ['5" pipe', "6", "7"]


# -- JSON Lines ------------------------------------------------------------------------------------


def test_jsonl_late_keys_nested_values_and_bad_lines(tmp_path):
    lines = ['{"a": 1}'] * 9000
    lines[4] = '{"a": 1'
    lines[6] = b'{"a": "\xff"}'
    lines[7] = '{"a": "\\ud800"}'
    lines[8] = "[" * 100_000
    lines += ['{"a": "two", "b": [1, {"c": null}], "d": true, "e": NaN}', '{"a": 2.5, "big": 123456789012345678901234}']
    data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    source = opened(tmp_path, write(tmp_path, "t.jsonl", data))
    assert source.table.column_names == ["a", "b", "d", "e", "big"]
    last = source.table.slice(len(source) - 2).to_pylist()
    assert last[0] == {"a": "two", "b": '[1, {"c": null}]', "d": "true", "e": None, "big": None}
    assert (
        last[1]["a"] == "2.5" and last[1]["big"] == "123456789012345678901234" and source.table["a"][0].as_py() == "1"
    )
    reasons = dict(source.malformed)
    assert "is not JSON at character" in reasons["t.jsonl line 5"]
    assert reasons["t.jsonl line 7"] == "is not UTF-8 at byte 8"
    assert reasons["t.jsonl line 8"] == "holds half of a surrogate pair"
    assert "cannot be parsed" in reasons["t.jsonl line 9"] and len(reasons) == 4
    assert source.place(4) == "t.jsonl line 6"


def test_chat_logs(tmp_path):
    line = json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]})
    path = write(tmp_path, "c.jsonl", line + "\n" + line + "\n")
    for format_ in ("auto", "chat"):
        source = opened(tmp_path, path, format=format_)
        assert (
            source.defaults["messages"] == "messages"
            and json.loads(source.table["messages"][1].as_py())[1]["content"] == "ho"
        )
    with pytest.raises(DataError, match="chat logs need a column messages"):
        opened(tmp_path, write(tmp_path, "d.jsonl", '{"a": 1}\n'), format="chat")


# -- Parquet, Arrow, datasets ----------------------------------------------------------------------


def full_table() -> pa.Table:
    import datetime
    import decimal

    return pa.table(
        {
            "int8": pa.array([1, None], pa.int8()),
            "big": pa.array([2**63, 1], pa.uint64()),
            "half": pa.array(np.array([0.5, 2], np.float16)),
            "decimal": pa.array([decimal.Decimal("1.25"), None]),
            "flag": [True, False],
            "class": pa.array(["a", "b"]).dictionary_encode(),
            "day": pa.array([datetime.date(2024, 5, 1), None]),
            "zoned": pa.array(
                [datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))] * 2
            ),
            "tags": [["x", "y"], []],
            "picture": [{"bytes": b"\x89PNG", "path": "a.png"}, None],
            "raw": [b"RIFF", None],
            "nothing": pa.nulls(2),
            "view": pa.array(["v", "w"], pa.string_view()),
        }
    )


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_columnar_types_become_the_six_kinds(tmp_path, kind):
    import datetime

    path = tmp_path / ("t.parquet" if kind == "parquet" else "t.arrow")
    if kind == "parquet":
        pq.write_table(full_table(), path)
    else:
        maker = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with maker(str(path), full_table().schema) as writer:
            writer.write_table(full_table())
    source = opened(tmp_path, path)
    assert source.table.to_pylist()[0] == {
        "int8": 1,
        "big": float(2**63),
        "half": 0.5,
        "decimal": 1.25,
        "flag": "true",
        "class": "a",
        "day": datetime.datetime(2024, 5, 1),
        "zoned": datetime.datetime(2024, 5, 1, 10),
        "tags": '["x", "y"]',
        "picture": {"bytes": b"\x89PNG", "path": "a.png"},
        "raw": {"bytes": b"RIFF", "path": None},
        "nothing": None,
        "view": "v",
    }
    assert source.table.to_pylist()[1]["picture"] is None and source.table.to_pylist()[1]["raw"] is None


def test_lists_of_pictures_are_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"images": [[{"bytes": b"x", "path": None}]]}), path)
    with pytest.raises(DataError, match="column images holds several pictures or sounds a row"):
        opened(tmp_path, path)


def test_saved_datasets_with_class_names_and_splits(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": b"\x89PNG not really", "path": None}] * 3, "label": [0, 1, None]}
    part = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": part, "test": part}).save_to_disk(str(tmp_path / "saved"))
    source = opened(tmp_path, tmp_path / "saved")
    got = source.table.to_pydict()
    assert got["label"] == ["cat", "dog", None] * 2 and got["split"] == ["train"] * 3 + ["test"] * 3
    assert got["image"][0]["bytes"] == b"\x89PNG not really"  # never decoded
    assert source.defaults["split"] == "split" and source.place(4) == "saved/test row 2"
    (tmp_path / "saved" / "dataset_dict.json").write_text("{")
    with pytest.raises(DataError, match="not a readable saved data set"):
        opened(tmp_path, tmp_path / "saved")


def test_hub_out_of_reach_is_one_line(tmp_path, monkeypatch):
    import huggingface_hub

    def fails(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", fails)
    with pytest.raises(DataError, match=r"org/name: no such file, folder or bundled data set.*hub.*HF_HUB_OFFLINE=1"):
        opened(tmp_path, "org/name")


# -- several files, folders ------------------------------------------------------------------------


def test_lists_and_globs_concatenate(tmp_path):
    write(tmp_path, "b1.csv", "a,b\n1,x\nbad\n2,y\n")
    write(tmp_path, "b2.csv", "b,a,c\nz,2.5,7\n")
    both = opened(tmp_path, str(tmp_path / "b*.csv"))
    assert both.table.to_pydict() == {"a": [1.0, 2.0, 2.5], "b": ["x", "y", "z"], "c": [None, None, 7]}
    assert [both.place(i) for i in range(3)] == ["b1.csv row 1", "b1.csv row 3", "b2.csv row 1"]
    listed = opened(tmp_path, [tmp_path / "b2.csv", tmp_path / "b1.csv"])
    assert listed.table["b"].to_pylist() == ["z", "x", "y"] and listed.fingerprint != both.fingerprint
    folder = write(tmp_path, "tables/one.csv", "a\n1\n").parent
    write(folder, "pic.png", b"x")
    assert opened(tmp_path, folder).table.to_pydict() == {"a": [1]}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothere.csv", r"nothere\.csv: no such file or folder; check the path; bundled data sets: .*emoji-ask"),
        ("no*.csv", r"no\*\.csv: no file matches"),
        ("x" * 5000 + ".csv", "no such file or folder"),
        ("sub/nothere.csv", "no such file or folder"),
        (["{d}/a.csv", "{d}/b.jsonl"], "files of different formats"),
        (["{d}/a.csv", "{d}/empty"], "a folder among several sources"),
        ("{d}/empty", "the folder is empty"),
        ("{d}/odd", "holds no table, picture or sound"),
        ("{d}/dangling.csv", "no such file"),
    ],
)
def test_sources_that_are_not_there(tmp_path, source, message):
    write(tmp_path, "a.csv", "a\n1\n")
    write(tmp_path, "b.jsonl", '{"a": 1}\n')
    write(tmp_path, "odd/notes.md", "x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "gone.csv")
    filled = [s.format(d=tmp_path) for s in source] if isinstance(source, list) else source.format(d=tmp_path)
    with pytest.raises(DataError, match=message):
        opened(tmp_path, filled)


def test_image_folder(tmp_path):
    secret = write(tmp_path, "outside/secret.png", b"s")
    for name in (
        "pics/cat/1.png",
        "pics/cat/2.JPG",
        "pics/dog/deep/3.webp",
        "pics/dog/notes.txt",
        "pics/.hidden/4.png",
    ):
        write(tmp_path, name, name)
    (tmp_path / "pics/cat/link.png").symlink_to(secret)
    source = opened(tmp_path, tmp_path / "pics")
    assert source.table.to_pydict() == {
        "image": ["cat/1.png", "cat/2.JPG", "dog/deep/3.webp"],
        "label": ["cat", "cat", "dog"],
    }
    assert source.malformed == [
        ("cat/link.png", "links out of the folder"),
        ("dog/notes.txt", "does not end like a file of pictures"),
    ]
    assert source.root == tmp_path / "pics" and source.place(2) == "dog/deep/3.webp"
    assert source.defaults == {"inputs": {"image": "image"}, "target": "label"}
    before = source.fingerprint
    write(tmp_path, "pics/cat/1.png", "pics/cat/9.png")
    assert opened(tmp_path, tmp_path / "pics").fingerprint != before


def test_image_folder_below_train_and_test_and_audio_folder(tmp_path):
    for name in ("p/train/cat/1.png", "p/train/dog/2.png", "p/test/cat/3.png", "s/yes/1.wav", "s/no/2.flac"):
        write(tmp_path, name, name)
    source = opened(tmp_path, tmp_path / "p")
    assert source.table.to_pydict() == {
        "image": ["test/cat/3.png", "train/cat/1.png", "train/dog/2.png"],
        "label": ["cat", "cat", "dog"],
        "split": ["test", "train", "train"],
    }
    assert source.defaults["split"] == "split"
    sounds = opened(tmp_path, tmp_path / "s")
    assert sounds.table.to_pydict() == {"audio": ["no/2.flac", "yes/1.wav"], "label": ["no", "yes"]}
    with pytest.raises(DataError, match="the folder holds no audio files"):
        opened(tmp_path, tmp_path / "p", format="audiofolder")
    with pytest.raises(DataError, match="imagefolder needs a folder"):
        opened(tmp_path, write(tmp_path, "x.csv", "a\n1\n"), format="imagefolder")


def test_parallel_text(tmp_path):
    en = write(tmp_path, "a.en", "one\u2028still one\ntwo\n\n")
    de = write(tmp_path, "a.de.gz", "eins\r\nzwei\r\n\n")
    source = opened(tmp_path, [en, de])
    assert source.table.to_pydict() == {"en": ["one\u2028still one", "two", None], "de": ["eins", "zwei", None]}
    assert source.defaults == {"inputs": {"en": "text"}, "target": "de", "languages": ["en", "de"]}
    assert source.place(1) == "a line 2"


def test_parallel_parts_give_a_split_column(tmp_path):
    for part, lines in (("train", 3), ("val", 1), ("test_2016", 2)):
        for language in ("en", "de"):
            write(tmp_path, f"m/{part}.{language}", f"{language}\n" * lines)
    source = opened(tmp_path, str(tmp_path / "m" / "*"))
    assert source.table["split"].to_pylist() == ["test"] * 2 + ["train"] * 3 + ["validation"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.en": "1\n2\n3\n", "a.de": "1\n"}, r"not line-aligned: a\.en has 3 lines, a\.de has 1 lines"),
        ({"a.en": "1\n", "b.de": "1\n"}, "has no counterpart in"),
        ({"a.en": "1\n", "a.de": ""}, "the file is empty"),
        ({"a.en": "1\n", "a.de": b"\xff\n"}, r"a\.de: line 1 is not UTF-8"),
        ({"plain": "1\n", "other": "2\n"}, "parallel text needs a language as suffix"),
        ({"a.en": "1\n", "a.en.gz": "1\n"}, "two files for en"),
    ],
)
def test_parallel_text_that_does_not_fit(tmp_path, files, message):
    paths = [write(tmp_path, name, content) for name, content in files.items()]
    with pytest.raises(DataError, match=message):
        opened(tmp_path, paths, format="parallel")


# -- the cache -------------------------------------------------------------------------------------


def test_cache_is_by_content_and_survives_damage(tmp_path):
    path = write(tmp_path, "t.csv", "a,b\n1,x\nbad\n2,y\n")
    first = opened(tmp_path, path)
    stamp = first.path.stat().st_mtime_ns
    moved = write(tmp_path, "elsewhere/u.csv", path.read_bytes())
    second = opened(tmp_path, moved)
    assert second.path == first.path and second.path.stat().st_mtime_ns == stamp
    assert second.place(1) == "u.csv row 3" and second.malformed[0][0] == "u.csv row 2"
    for damage in (b"", b"ARROW1\0\0garbage"):
        first.path.write_bytes(damage)
        assert opened(tmp_path, path).table["b"].to_pylist() == ["x", "y"]
    write(tmp_path, "t.csv", "a,b\n1,x\n")
    assert opened(tmp_path, path).path != first.path


PROCESS = """
import sys
from pathlib import Path
from sensorium.data import open_source
from sensorium.errors import SensoriumError
from sensorium.recipe import DataRecipe
if len(sys.argv) > 3:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    print(len(open_source(DataRecipe(source=sys.argv[1]), Path(sys.argv[2]))))
except SensoriumError as error:
    print(error)
"""


def in_process(*arguments: object) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROCESS, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_several_processes_at_once_and_a_full_disk_leave_the_cache_sound(tmp_path):
    path = write(tmp_path, "t.csv", "a,b\n" + "".join(f"{i},words of row {i}\n" for i in range(100_000)))
    full, _ = in_process(path, tmp_path / "cache", 300_000).communicate(timeout=60)
    assert "cache: the cache cannot be written (File too large); free space" in full
    assert not list((tmp_path / "cache").glob("**/table.arrow"))
    both = [in_process(path, tmp_path / "cache") for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in both] == ["100000\n"] * 2
    assert len(list((tmp_path / "cache").glob("[!.]*"))) == 1 and not list((tmp_path / "cache").glob(".conv*"))
    assert opened(tmp_path, path).table["b"][99_999].as_py() == "words of row 99999"


def test_damaged_columnar_files_never_crash(tmp_path):
    small = pa.table({"a": [1, 2, 3], "b": ["x", "y", None]})
    pq.write_table(small, tmp_path / "t.parquet")
    with pa.ipc.new_file(str(tmp_path / "t.arrow"), small.schema) as writer:
        writer.write_table(small)
    rng = random.Random(0)
    for name in ("t.parquet", "t.arrow"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(100):
            data = bytearray(whole[: rng.choice([len(whole), rng.randrange(len(whole))])])
            for _ in range(rng.randrange(4)):
                data[rng.randrange(len(data))] = rng.randrange(256) if data else 0
            try:
                table(tmp_path, name, bytes(data or b"\0"))
            except DataError as error:
                assert "\n" not in str(error)


def test_cache_that_cannot_be_written(tmp_path):
    write(tmp_path, "cache", "a file where the folder should be")
    with pytest.raises(DataError, match="the cache cannot be written"):
        opened(tmp_path, write(tmp_path, "t.csv", "a\n1\n"))


def test_root_is_widened_by_the_recipe(tmp_path):
    path = write(tmp_path, "in/t.csv", "a\n1\n")
    assert opened(tmp_path, path, root=str(tmp_path)).root == tmp_path
    with pytest.raises(DataError, match=r"data\.root.*no such folder"):
        opened(tmp_path, path, root=str(tmp_path / "nowhere"))


def test_a_source_pickles_as_a_path(tmp_path):
    source = opened(tmp_path, write(tmp_path, "t.csv", "a,b\n" + "1,xxxxxxxxxxxxxxxxxxxx\n" * 5000))
    data = pickle.dumps(source)
    assert len(data) < 2000
    again = pickle.loads(data)
    assert again.table.equals(source.table) and again.place(7) == "t.csv row 8"


PROBE = """
import sys, threading, time
from pathlib import Path
from sensorium.data import infer_schema, open_source, split
from sensorium.recipe import DataRecipe
import numpy as np
def anonymous():
    return int(next(l for l in open("/proc/self/status") if l.startswith("RssAnon")).split()[1])
peak, done = 0, False
def watch():
    global peak
    while not done:
        peak = max(peak, anonymous()); time.sleep(0.002)
recipe = DataRecipe(source=sys.argv[1], target="label")
thread = threading.Thread(target=watch); thread.start()
source = open_source(recipe, Path(sys.argv[2]))
infer_schema(source, recipe)
done = True; thread.join()
print(peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_rows(tmp_path):
    peaks = []
    for rows in (30_000, 240_000):
        path = tmp_path / f"{rows}.csv"
        with open(path, "w") as file:
            file.write("text,n,label\n")
            file.writelines(
                f"some words in row {i} that take their place in memory,{i}.5,{i % 3}\n" for i in range(rows)
            )
        command = [sys.executable, "-c", PROBE, str(path), str(tmp_path / "cache")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        peaks.append(int(done.stdout))
    assert peaks[1] <= 1.3 * peaks[0], peaks  # kB; the larger file has 8 times the bytes


# -- rows in memory --------------------------------------------------------------------------------


def test_rows_in_memory(tmp_path):
    import pandas

    rows = [
        {"text": "a", "n": 1, "picture": b"\x89PNG", "flag": True},
        {"text": None, "n": 2.5, "picture": "p.png", "more": [1]},
    ]
    source = from_rows(rows, root=tmp_path)
    assert source.table.to_pylist() == [
        {"text": "a", "n": 1.0, "picture": {"bytes": b"\x89PNG", "path": None}, "flag": "true", "more": None},
        {"text": None, "n": 2.5, "picture": {"bytes": None, "path": "p.png"}, "flag": None, "more": "[1]"},
    ]
    frame = pandas.DataFrame({"text": ["a", "b"], "n": [1, 2], "kind": pandas.Categorical(["x", "y"])})
    assert from_rows(frame).table.to_pydict() == {"text": ["a", "b"], "n": [1, 2], "kind": ["x", "y"]}
    assert pickle.loads(pickle.dumps(from_rows(frame))).table.to_pydict() == from_rows(frame).table.to_pydict()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "there are no rows"),
        ("text", "rows are a str"),
        ([1], "rows are a list"),
        ([{"a": b"x"}, {"a": 3}], "different types"),
    ],
)
def test_rows_in_memory_that_are_none(rows, message):
    with pytest.raises(DataError, match=message):
        from_rows(rows)
