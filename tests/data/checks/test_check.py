"""What is wrong with data: each fault found, counted, named, and set aside where it must be; sound data left alone."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.checks.check import DataReport, check
from sensorium.data.checks.table import survey_cells
from sensorium.data.rows import CONVERT, Rows
from sensorium.data.schema import infer_schema
from sensorium.data.sources import open_source
from sensorium.data.tables import Source
from sensorium.errors import DataError, MediaError
from sensorium.recipe import DataRecipe
from tests.data.checks_data import examine, kinds, only, picture, schema_of, sound, table

TEXT = schema_of({"x": "text"}, "y", classes=["a", "b"])


def texts(rows: int = 40) -> list[dict[str, Any]]:
    return [{"x": f"some text {i}", "y": "ab"[i % 2]} for i in range(rows)]


def test_sound_data_have_no_findings() -> None:
    report = examine(table(texts()), TEXT)
    assert report.findings == [] and report.quarantined == {}
    assert report.lines() == ["40 rows, 40 usable"]


# -- the target ------------------------------------------------------------------------------------


def test_a_missing_target_is_set_aside() -> None:
    rows = texts()
    rows[3]["y"], rows[7]["y"] = None, "  "
    report = examine(table(rows), TEXT)
    assert report.quarantined == {3: ("y", "the target is missing"), 7: ("y", "the target is missing")}
    finding = only(report, "missing_target")
    assert (finding.severity, finding.count, finding.rows) == ("quarantine", 2, [3, 7])
    assert finding.message == "the target is missing in 2 of 40 rows (5 %)"


def test_targets_that_are_no_numbers() -> None:
    cells = ["1", "2.5", "many", "1e3", "inf", "nan", "", None, " 4 ", "-Infinity", *map(str, range(30))]
    rows = [{"x": f"text {i}", "y": cell} for i, cell in enumerate(cells)]
    report = examine(table(rows), schema_of({"x": "text"}, "y", "number"))
    reasons = {row: reason for row, (_, reason) in report.quarantined.items()}
    assert reasons == {
        2: "the target is no number",
        4: "the target is infinite",
        5: "the target is no number",
        6: "the target is missing",
        7: "the target is missing",
        9: "the target is infinite",
    }
    assert "'many'" in " ".join(f.message for f in report.findings)


def test_infinite_and_nan_float_targets() -> None:
    source = table([{"x": f"text {i}", "y": float(i)} for i in range(30)])
    values = np.arange(30.0)
    values[[1, 2, 3]] = np.nan, np.inf, -np.inf
    source.table = source.table.set_column(1, "y", pa.chunked_array([values]))
    report = examine(source, schema_of({"x": "text"}, "y", "number"))
    assert {row: reason for row, (_, reason) in report.quarantined.items()} == {
        1: "the target is missing",
        2: "the target is infinite",
        3: "the target is infinite",
    }


def test_a_class_that_is_not_known() -> None:
    rows = texts()
    rows[5]["y"] = "zebra"
    report = examine(table(rows), TEXT)
    assert report.quarantined == {5: ("y", "the class 'zebra' is not known")}
    assert "'zebra'" in only(report, "unknown_class").message


def test_whole_floats_are_the_classes_they_print_as() -> None:
    source = table([{"x": f"text {i}", "y": float(i % 3)} for i in range(30)])
    assert examine(source, schema_of({"x": "text"}, "y", classes=["0", "1", "2"])).quarantined == {}


def test_without_need_of_a_target_it_is_not_looked_at() -> None:
    rows = texts()
    rows[3]["y"], rows[4]["y"] = None, "zebra"
    report = examine(table(rows), TEXT, need_target=False)
    assert report.quarantined == {} and report.findings == []
    assert examine(table([{"x": "alone"}]), TEXT, need_target=False).quarantined == {}


def test_imbalance_and_rare_classes() -> None:
    rows = [{"x": f"text {i}", "y": "common" if i < 95 else "rare" if i < 98 else f"once {i}"} for i in range(100)]
    classes = sorted({row["y"] for row in rows})
    report = examine(table(rows), schema_of({"x": "text"}, "y", classes=classes))
    assert "'common' has 95 of 100 rows (95 %)" in only(report, "imbalance").message
    assert only(report, "rare_classes").count == 2
    assert "imbalance" not in kinds(examine(table(texts()), TEXT))


# -- inputs ----------------------------------------------------------------------------------------


def test_a_row_without_any_input_is_set_aside() -> None:
    rows = [{"x": f"t {i}", "n": float(i), "y": "ab"[i % 2]} for i in range(20)]
    rows[2] |= {"x": "", "n": None}
    rows[4] |= {"x": " \t", "n": 1.0}
    report = examine(table(rows), schema_of({"x": "text", "n": "number"}, "y", classes=["a", "b"]))
    assert report.quarantined == {2: ("", "every input is missing")}
    assert only(report, "missing_cells", "x").count == 2
    assert only(report, "missing_cells", "x").severity == "note"


def test_mostly_missing_columns_are_warned_of() -> None:
    rows = [{"x": f"t {i}", "n": float(i) if i < 3 else None, "y": "ab"[i % 2]} for i in range(20)]
    report = examine(table(rows), schema_of({"x": "text", "n": "number"}, "y", classes=["a", "b"]))
    assert only(report, "missing_cells", "n").severity == "warning"
    assert only(report, "missing_cells", "n").message == "missing in 17 of 20 rows (85 %)"


@pytest.mark.parametrize(
    ("type_", "cells", "unread", "infinite"),
    [
        ("number", ["1", "+2.5", "1e3", ".5", "x", "12kg", "inf", "-Infinity", "", None], [4, 5], [6, 7]),
        ("time", ["2024-01-01", "2024-01-01T10:00:00Z", "2024-02-31", "soon", "20240131", None], [2, 3], []),
        ("place", ["52.1, 4.3", "(52.1; 4.3)", "91, 0", "here", "0,181", ""], [2, 3, 4], []),
    ],
)
def test_cells_that_are_not_of_their_columns_type(
    type_: str, cells: list[str | None], unread: list[int], infinite: list[int]
) -> None:
    rows = [{"x": f"text {i}", "c": cell, "y": "ab"[i % 2]} for i, cell in enumerate(cells)]
    report = examine(table(rows), schema_of({"x": "text", "c": type_}, "y", classes=["a", "b"]))
    assert report.quarantined == {}
    assert only(report, "unreadable_cells", "c").rows == unread[:5]
    assert only(report, "unreadable_cells", "c").severity == "warning"
    assert only(report, "infinite_numbers").rows == infinite if infinite else "infinite_numbers" not in kinds(report)


strings = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.floats().map(str),
    st.integers().map(str),
    st.dates().map(str),
    st.datetimes().map(str),
    st.tuples(st.floats(-100, 100), st.floats(-200, 200)).map(lambda p: f"{p[0]}, {p[1]}"),
    st.sampled_from(["", " ", "nan", "NaN", "inf", "+Infinity", "1,5", "1_000", "٣", "0x10", "1e999", "2024-13-01"]),
)


@given(st.lists(strings, min_size=1), st.sampled_from(["text", "number", "category", "time", "place"]))
def test_what_counts_as_missing_is_what_rows_read_as_none(cells: list[str | None], type_: str) -> None:
    flags = survey_cells(pa.array(cells, pa.large_string()), type_)
    assert (np.sum(flags, axis=0) <= 1).all()
    missing = np.any(flags, axis=0).tolist()
    assert missing == [CONVERT[type_](cell) is None for cell in cells]


@given(
    st.lists(st.one_of(st.none(), st.floats(), st.integers(-5, 5).map(float))),
    st.sampled_from(["text", "number", "category"]),
)
def test_the_same_holds_for_columns_of_numbers(cells: list[float | None], type_: str) -> None:
    array = pa.array(cells, pa.float64())
    missing = np.any(survey_cells(array, type_), axis=0).tolist()
    assert missing == [CONVERT[type_](cell) is None for cell in array.to_pylist()]


def test_times_of_arrow_are_times() -> None:
    cells = pa.array([datetime(2024, 1, 1), None], pa.timestamp("us"))
    assert np.any(survey_cells(cells, "time"), axis=0).tolist() == [False, True]


def test_constant_columns() -> None:
    rows = [{"x": f"t {i}", "same": "yes", "y": "ab"[i % 2]} for i in range(20)]
    report = examine(table(rows), schema_of({"x": "text", "same": "category"}, "y", classes=["a", "b"]))
    assert only(report, "constant_column").column == "same"


def test_broken_and_endless_texts() -> None:
    rows = texts()
    rows[1]["x"], rows[2]["x"] = "gr\ufffd\ufffde", "word " * 30_000
    report = examine(table(rows), TEXT)
    assert only(report, "broken_text").rows == [1]
    assert only(report, "endless_text").rows == [2]
    assert report.quarantined == {}


# -- leakage ---------------------------------------------------------------------------------------


def leaks(rows: list[dict[str, Any]], type_: str, kind: str = "category") -> DataReport:
    classes = sorted({str(row["y"]) for row in rows}) if kind == "category" else None
    return examine(table(rows), schema_of({"x": type_}, "y", kind, classes))


def test_an_input_that_equals_the_target() -> None:
    rows = [{"x": f" {'AB'[i % 2]}", "y": "ab"[i % 2]} for i in range(40)]
    rows[0]["x"] = "other"
    finding = only(leaks(rows, "category"), "target_leakage")
    assert "it equals the target in 39 of 40 rows (98 %)" in finding.message
    assert (finding.column, finding.count, finding.severity, finding.rows[0]) == ("x", 39, "warning", 1)


def test_numbers_that_equal_the_target() -> None:
    assert (
        "equals the target"
        in only(leaks([{"x": i % 4, "y": str(i % 4)} for i in range(40)], "number"), "target_leakage").message
    )
    rows = [{"x": i / 7, "y": i / 7} for i in range(40)]
    assert "equals the target" in only(leaks(rows, "number", "number"), "target_leakage").message


def test_equal_free_texts() -> None:
    rows = [{"x": f"a  long TEXT {i}", "y": f"a long text {i}"} for i in range(40)]
    assert only(leaks(rows, "text", "text"), "target_leakage").count == 40


def test_a_code_for_the_target() -> None:
    finding = only(leaks([{"x": "pqr"[i % 3], "y": "abc"[i % 3]} for i in range(40)], "category"), "target_leakage")
    assert "its 3 values go one-to-one with those of y" in finding.message


def test_the_target_in_other_units() -> None:
    finding = only(leaks([{"x": 1.8 * i + 32, "y": float(i)} for i in range(50)], "number", "number"), "target_leakage")
    assert "straight line" in finding.message


def test_an_input_that_determines_the_target_is_noted() -> None:
    rows = [{"x": "pqrs"[i % 4], "y": "ab"[i % 2]} for i in range(40)]
    finding = only(leaks(rows, "category"), "determines_target")
    assert finding.severity == "note"


def test_what_is_no_leak() -> None:
    rng = np.random.default_rng(0)
    noisy = [{"x": float(i + rng.normal()), "y": float(i)} for i in range(200)]
    assert not kinds(leaks(noisy, "number", "number")) & {"target_leakage", "determines_target"}
    chance = [
        {"x": "yes" if rng.random() < 0.97 else "no", "y": "yes" if rng.random() < 0.97 else "no"} for _ in range(400)
    ]
    assert not kinds(leaks(chance, "category")) & {"target_leakage", "determines_target"}
    some = [
        {"x": "ab"[int(rng.random() < 0.5) ^ (i % 2 if rng.random() < 0.6 else 0)], "y": "ab"[i % 2]}
        for i in range(400)
    ]
    assert not kinds(leaks(some, "category")) & {"target_leakage", "determines_target"}
    assert not kinds(leaks([{"x": f"t{i}", "y": "ab"[i % 2]} for i in range(40)], "text")) & {
        "target_leakage",
        "determines_target",
    }


# -- media -----------------------------------------------------------------------------------------

PICTURES = schema_of({"p": "image"}, "y", classes=["a", "b"])
SOUNDS = schema_of({"s": "audio"}, "y", classes=["a", "b"])


def folder_of(tmp_path: Path, files: dict[str, bytes], column: str = "p") -> Source:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return table([{column: name, "y": "ab"[i % 2]} for i, name in enumerate(files)], tmp_path)


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (32, 32)) -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def test_pictures(tmp_path: Path) -> None:
    source = folder_of(
        tmp_path,
        {
            "0.png": picture(0),
            "1.png": picture(1)[:-500],
            "2.png": b"<html>",
            "3.png": flat((9, 9, 9)),
            "4.png": picture(4, format_="JPEG"),
            "5.png": flat((0, 0, 0), (1, 1)),
            "6.png": flat((0, 0, 0), (400, 10)),
            "7.png": sound(1),
            "8.png": picture(8),
        },
    )
    rows = [*source.table.to_pylist(), {"p": "gone.png", "y": "a"}, {"p": "../out.png", "y": "b"}, {"p": "", "y": "a"}]
    report = examine(table(rows, tmp_path), PICTURES)
    reasons = {row: reason for row, (_, reason) in report.quarantined.items()}
    assert reasons == {
        1: "1.png: the picture is truncated",
        2: "2.png: this is no picture in a format that can be read",
        7: "7.png: this is no picture in a format that can be read",
        9: "gone.png: there is no such file",
        10: "../out.png: the file is not under the data's folder",
        11: "every input is missing",
    }
    assert only(report, "unreadable_image").count == 5
    assert only(report, "blank_picture").rows == [3, 5, 6]
    assert only(report, "absurd_size").rows == [5, 6]
    assert only(report, "wrong_extension").rows == [4]
    assert "4.png is JPEG" in only(report, "wrong_extension").message
    import hashlib

    hashes = report.hashes["p"]
    assert len(hashes) == len(rows)
    assert hashes[0] == hashlib.sha256(picture(0)).hexdigest()
    assert [hashes[row] is None for row in range(12)] == [row in reasons for row in range(12)]


def test_sounds(tmp_path: Path) -> None:
    source = folder_of(
        tmp_path,
        {
            "0.wav": sound(0),
            "1.wav": sound(1)[:-500],
            "2.wav": sound(2, peak=0.0),
            "3.wav": sound(3, peak=5.0),
            "4.flac": sound(4, format_="FLAC"),
            "5.ogg": sound(5, format_="FLAC"),
            "6.wav": sound(6, seconds=0.01),
            "7.wav": sound(7, seconds=31),
            "8.wav": picture(1),
        },
        "s",
    )
    report = examine(source, SOUNDS)
    assert {row: reason for row, (_, reason) in report.quarantined.items()} == {
        1: "1.wav: the sound is truncated",
        8: "8.wav: this is no sound in a format that can be read",
    }
    found = {finding.kind: finding.rows for finding in report.findings}
    expected = {
        "silent_audio": [2],
        "clipped_audio": [3],
        "wrong_extension": [5],
        "absurd_size": [6],
        "long_audio": [7],
    }
    assert {kind: found[kind] for kind in expected} == expected


def test_bytes_in_cells_are_looked_at_too() -> None:
    rows = [{"p": {"bytes": picture(i), "path": None}, "y": "ab"[i % 2]} for i in range(4)]
    rows.append({"p": {"bytes": b"junk", "path": "x.png"}, "y": "a"})
    rows.append({"p": None, "y": "b"})
    report = examine(table(rows), PICTURES)
    assert report.quarantined == {
        4: ("p", "x.png: this is no picture in a format that can be read"),
        5: ("", "every input is missing"),
    }


def test_a_picture_in_many_rows_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from sensorium.modalities import image

    calls = []
    decode = image.decode
    monkeypatch.setattr(image, "decode", lambda data: calls.append(1) or decode(data))
    rows = [{"p": {"bytes": picture(0)}, "y": "ab"[i % 2]} for i in range(200)]
    report = examine(table(rows), PICTURES)
    assert len(calls) <= 8  # a few threads may begin at once
    assert only(report, "constant_column").column == "p"
    assert len({report.hashes["p"][row] for row in range(200)}) == 1


def test_no_more_threads_than_cores_and_progress_adds_up() -> None:
    import os

    before = threading.active_count()
    most, seen = [0], []
    data = [picture(i) for i in range(150)]

    def read(reference: Any) -> bytes:
        most[0] = max(most[0], threading.active_count() - before)
        return reference["bytes"]

    source = table([{"p": {"bytes": data[i]}, "y": "ab"[i % 2]} for i in range(150)])
    check(source, PICTURES, read, lambda done, total: seen.append((done, total)))
    assert most[0] <= len(os.sched_getaffinity(0))
    assert seen[-1] == (150, 150) and [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_progress_bars_are_opened_as_jobs_do() -> None:
    class Bar:
        def __init__(self) -> None:
            self.opened: list[tuple[str, int]] = []
            self.count = 0

        def task(self, name: str, total: int, done: int = 0, unit: str = "") -> Any:
            from contextlib import contextmanager

            self.opened.append((name, total))

            @contextmanager
            def opened() -> Any:
                def advance(count: int = 1) -> None:
                    self.count += count

                yield advance

            return opened()

    bar = Bar()
    examine(table([{"p": {"bytes": picture(i)}, "y": "ab"[i % 2]} for i in range(40)]), PICTURES, progress=bar)
    assert bar.opened == [("checking p", 40)] and bar.count == 40


def test_a_defect_in_reading_is_not_swallowed() -> None:
    def broken(reference: Any) -> bytes:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError):
        check(table([{"p": {"bytes": b"x"}, "y": "a"}]), PICTURES, broken)

    def refused(reference: Any) -> bytes:
        raise MediaError("no")

    assert check(table([{"p": {"bytes": b"x"}, "y": "a"}]), PICTURES, refused).quarantined == {0: ("p", "no")}


# -- chats -----------------------------------------------------------------------------------------


def chat(*parts: Any, answer: str = "yes") -> str:
    return json.dumps([{"role": "user", "content": list(parts)}, {"role": "assistant", "content": answer}])


def test_chats(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "bad.png").write_bytes(b"junk")

    def shows(path: str) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": path}}

    words = {"type": "text", "text": "what is it?"}
    rows = [
        {"messages": chat(words)},
        {"messages": chat(shows("a.png"), words)},
        {"messages": chat(shows("bad.png"), words)},
        {"messages": chat(shows("none.png"), words)},
        {"messages": chat(words, answer="")},
        {"messages": "{not json"},
        {"messages": None},
        {"messages": chat(shows("https://example.org/a.png"))},
    ]
    schema = schema_of({}, None, "text")
    schema.messages = "messages"
    report = examine(table(rows, tmp_path), schema)
    assert sorted(report.quarantined) == [2, 3, 4, 5, 6, 7]
    reasons = {row: reason for row, (_, reason) in report.quarantined.items()}
    assert reasons[2] == "bad.png: this is no picture in a format that can be read"
    assert reasons[3] == "none.png: there is no such file"
    assert reasons[7].endswith("https: addresses are not opened") or "addresses are not opened" in reasons[7]
    assert all(reason.isprintable() for reason in reasons.values())
    assert only(report, "bad_chat").count == 6


# -- rows that repeat ------------------------------------------------------------------------------


def test_repeated_and_contradicting_rows() -> None:
    rows = texts(20)
    rows.append({"x": "SOME   text 3 ", "y": "b"})  # row 3 again
    rows.append({"x": "some text 4", "y": "b"})  # row 4 says a
    report = examine(table(rows), TEXT)
    assert only(report, "duplicate_rows").rows == [20, 21]
    assert only(report, "contradicting_rows").rows == [4, 21]


# -- the report ------------------------------------------------------------------------------------


def spoilt(tmp_path: Path) -> tuple[Source, Any]:
    lines = ["x,y"] + [f"some text {i},{'ab'[i % 2]}" for i in range(60)] + ["too,many,cells", "some more,"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    data = DataRecipe(source=str(tmp_path / "t.csv"), target="y")
    source = open_source(data, tmp_path / "cache")
    return source, infer_schema(source, data)


def test_malformed_rows_of_a_real_file_are_told(tmp_path: Path) -> None:
    source, schema = spoilt(tmp_path)
    report = examine(source, schema)
    assert len(report.malformed) == 1 and "t.csv row 61" in only(report, "malformed_rows").message
    assert report.quarantined == {60: ("y", "the target is missing")}
    assert report.lines()[0] == "61 rows, 60 usable, 1 set aside, 1 malformed and left out"


def test_the_report_is_json_and_lines_are_narrow(tmp_path: Path) -> None:
    source, schema = spoilt(tmp_path)
    report = examine(source, schema)
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["rows"] == 61 and told["usable"] == 60 and told["quarantined"] == 1 and told["malformed"] == 1
    assert told["rejected"] == [{"row": 60, "column": "y", "reason": "the target is missing"}]
    assert {"kind", "column", "count", "severity", "message", "rows"} == set(told["findings"][0])
    assert [f["severity"] for f in told["findings"]][:2] == ["quarantine", "quarantine"]
    assert all(len(line) <= 80 and line.isprintable() for line in report.lines())


def test_hostile_cells_stay_text_on_one_line() -> None:
    rows = texts()
    rows[1]["y"] = "evil\x1b[31m\nname\u202e"
    report = examine(table(rows), schema_of({"x": "text"}, "y", classes=["a", "b"]))
    assert all(line.isprintable() for line in report.lines())
    assert report.quarantined[1][1].isprintable()


def test_quarantine_is_written(tmp_path: Path) -> None:
    source, schema = spoilt(tmp_path)
    report = examine(source, schema)
    report.write_quarantine(tmp_path / "run" / "quarantine.jsonl", source)
    told = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert told[0]["id"] is None and told[0]["file"] == "t.csv row 61"
    assert told[1] == {"id": 60, "file": "t.csv row 62", "column": "y", "reason": "the target is missing"}


def test_stop_names_the_first_bad_row_and_how_many(tmp_path: Path) -> None:
    source, schema = spoilt(tmp_path)
    with pytest.raises(DataError, match=r"t.csv row 62, column y: the target is missing \(the first of 2 bad rows\)"):
        examine(source, schema, stop=True)
    rows = texts()
    rows[3]["y"] = None
    with pytest.raises(DataError, match=r"t.csv row 4, column y: the target is missing; mend the data"):
        examine(table(rows), TEXT, stop=True)
    assert examine(table(texts()), TEXT, stop=True).quarantined == {}


def test_absent_columns_are_refused() -> None:
    with pytest.raises(DataError, match="no column x"):
        examine(table([{"z": "1", "y": "a"}]), TEXT)


def test_rows_that_pass_can_be_read() -> None:
    rows = [
        {"x": x, "n": n, "y": y} for x in ("a", "", None) for n in ("1", "oops", None) for y in ("a", None, "zebra")
    ]
    source = table(rows * 3)
    schema = schema_of({"x": "text", "n": "number"}, "y", classes=["a"])
    report = examine(source, schema)
    for row in set(range(len(source))) - set(report.quarantined):
        example = Rows(source, schema)[row]
        assert example.target == "a" and any(value is not None for value in example.inputs.values())


def test_many_rows_take_little_memory_and_time() -> None:
    import time
    import tracemalloc

    n = 200_000
    words = pa.array([f"text number {i}" for i in range(n)], pa.large_string())
    source = table([{"x": "a", "y": "b"}])
    source.table = pa.table({"x": words, "y": pa.array(["a", "b"] * (n // 2), pa.large_string())})
    source.places.rows[0] = n
    tracemalloc.start()
    begun = time.perf_counter()
    report = examine(source, TEXT)
    seconds, (_, peak) = time.perf_counter() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.findings == []
    assert peak < 120 * n  # bytes; bounded by one stretch of rows and a few numbers a row
    assert seconds < 20
