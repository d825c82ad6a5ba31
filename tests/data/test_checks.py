"""Checks: each on a table that has the fault and on one that has not; bad rows are set aside with a reason."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sensorium.data.checks import DataReport, Finding, check
from sensorium.data.media import read_media
from sensorium.data.rows import Rows
from sensorium.data.schema import Schema, infer_schema
from sensorium.data.sources import open_source
from sensorium.data.tables import Source, from_rows
from sensorium.errors import DataError
from sensorium.recipe import DataRecipe

RATE = 16_000


def report_of(folder: Path, rows: list[dict[str, Any]], target: str = "y", stop: bool = False, **recipe: Any) -> DataReport:
    """The report on a CSV file of ``rows``, opened and typed as a run would."""
    path = folder / "t.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    data = DataRecipe(source=str(path), target=target, **recipe)
    source = open_source(data, folder / "cache")
    return check(source, infer_schema(source, data), partial(read_media, root=source.root), stop=stop)


def kinds(report: DataReport) -> dict[tuple[str, str], Finding]:
    return {(finding.kind, finding.column): finding for finding in report.findings}


def clean_rows(count: int = 40) -> list[dict[str, Any]]:
    return [{"text": f"words and number {i}", "size": i * 1.5, "y": "yes" if i % 3 else "no"} for i in range(count)]


def test_a_clean_table_has_no_findings(tmp_path: Path) -> None:
    report = report_of(tmp_path, clean_rows())
    assert not report.findings and not report.quarantined
    assert report.lines() == ["40 rows, 40 usable"]


# -- rows ------------------------------------------------------------------------------------------


def test_rows_without_any_input_and_without_a_target_are_set_aside(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[4] |= {"text": "   ", "size": ""}
    rows[7]["y"] = ""
    rows[9]["text"] = ""
    report = report_of(tmp_path, rows)
    assert sorted(report.quarantined) == [4, 7]
    assert report.quarantined[7] == ("y", "the target is missing")
    found = kinds(report)
    assert found["empty_row", ""].rows == [4] and found["missing_target", "y"].rows == [7]
    assert (found["missing_cells", "text"].count, found["missing_cells", "text"].severity) == (2, "note")


def test_a_target_is_not_asked_for_in_rows_to_predict(tmp_path: Path) -> None:
    schema = Schema({"text": "text"}, "y", "category", "classify", ["no", "yes"])
    for rows in ([{"text": "a"}, {"text": "b"}], [{"text": "a", "y": None}, {"text": "b", "y": "?"}]):
        assert not check(from_rows(rows), schema, bytes, need_target=False).quarantined
    with pytest.raises(DataError, match="there is no column y"):
        check(from_rows([{"text": "a"}]), schema, bytes)


def test_a_target_that_is_no_number_or_infinite_is_set_aside() -> None:
    rows = [{"text": f"t {i}", "y": value} for i, value in enumerate(["1.5", "2", "much", "inf", "-4e3", " "])]
    report = check(from_rows(rows), Schema({"text": "text"}, "y", "number", "classify"), bytes)
    assert sorted(report.quarantined) == [2, 3, 5]
    assert [report.quarantined[row][1] for row in (2, 3, 5)] == [
        "the target is no number",
        "the target is infinite",
        "the target is missing",
    ]


def test_a_class_that_the_model_does_not_know_is_set_aside() -> None:
    rows = [{"text": f"t {i}", "y": value} for i, value in enumerate(["a", "b", "z"])]
    report = check(from_rows(rows), Schema({"text": "text"}, "y", "category", "classify", ["a", "b"]), bytes)
    assert report.quarantined == {2: ("y", "the class 'z' is not known")}


@pytest.mark.parametrize(
    ("type_", "values", "kind", "rows"),
    [
        ("number", ["1", "2.5", "+3", "1e3", "few", ""], "unreadable_cells", [4]),
        ("number", ["1", "-inf", "Infinity", "3", "4", "5"], "infinite_numbers", [1, 2]),
        ("time", ["2024-05-01", "2024-13-01", "2024-05-01T10:00:00Z", "soon", "", "2024-05-02"], "unreadable_cells", [3]),
        ("place", ["52.1, 4.3", "north", "-10,20", "91,0", "", "[1, 2]"], "unreadable_cells", [1, 3]),
    ],
)
def test_cells_that_are_not_of_their_type_are_counted(type_: Any, values: list[str], kind: str, rows: list[int]) -> None:
    table = [{"cell": value, "text": f"t {i}", "y": "ab"[i % 2]} for i, value in enumerate(values)]
    schema = Schema({"cell": type_, "text": "text"}, "y", "category", "classify", ["a", "b"])
    report = check(from_rows(table), schema, bytes)
    finding = kinds(report)[kind, "cell"]
    assert finding.rows == rows and finding.count == len(rows) and finding.severity == "warning"
    assert not report.quarantined, "the text is still there"


def test_infinities_of_a_float_column_are_warned_of() -> None:
    rows = [{"size": value, "text": "t", "y": "ab"[i % 2]} for i, value in enumerate([1.0, float("inf"), float("nan"), 2.0])]
    schema = Schema({"size": "number", "text": "text"}, "y", "category", "classify", ["a", "b"])
    found = kinds(check(from_rows(rows), schema, bytes))
    assert found["infinite_numbers", "size"].rows == [1] and found["missing_cells", "size"].rows == [2]


def test_a_column_that_never_changes_is_told(tmp_path: Path) -> None:
    rows = [row | {"unit": "kg"} for row in clean_rows()]
    report = report_of(tmp_path, rows, inputs={"text": "text", "unit": "category"})
    assert ("constant_column", "unit") in kinds(report) and ("constant_column", "text") not in kinds(report)


def test_malformed_rows_are_counted_and_written_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,y\n" + "".join(f"some text {i},{'ab'[i % 2]}\n" for i in range(20)) + "a,b,c,d\n")
    data = DataRecipe(source=str(path), target="y")
    source = open_source(data, tmp_path / "cache")
    report = check(source, infer_schema(source, data), bytes)
    assert kinds(report)["malformed_rows", ""].count == 1
    report.write_quarantine(tmp_path / "quarantine.jsonl", source)
    (line,) = map(json.loads, (tmp_path / "quarantine.jsonl").read_text().splitlines())
    assert line["id"] is None and "t.csv row 21" in line["file"]
    assert report.to_dict()["malformed"] == 1


# -- classes and leakage ---------------------------------------------------------------------------


def test_uneven_and_rare_classes_are_warned_of(tmp_path: Path) -> None:
    rows = [{"text": f"words {i}", "y": "rare" if i < 2 else "common"} for i in range(60)]
    found = kinds(report_of(tmp_path, rows))
    assert "'common' has 58 of 60" in found["imbalance", "y"].message
    assert found["rare_classes", "y"].count == 1 and "'rare'" in found["rare_classes", "y"].message


@pytest.mark.parametrize(
    "leak",
    [
        lambda row: row["y"].upper() + " ",
        lambda row: {"yes": "oui", "no": "non"}[row["y"]],
    ],
    ids=["equal but for case", "one to one"],
)
def test_an_input_that_gives_a_class_away_is_warned_of(tmp_path: Path, leak: Callable[[dict[str, Any]], Any]) -> None:
    rows = [row | {"hint": leak(row)} for row in clean_rows()]
    found = kinds(report_of(tmp_path, rows))
    assert found["target_leakage", "hint"].severity == "warning"
    assert ("target_leakage", "text") not in found and ("target_leakage", "size") not in found


@pytest.mark.parametrize(("factor", "shift", "leaks"), [(1.0, 0.0, True), (2.54, 3.0, True), (None, 0.0, False)])
def test_a_number_in_other_units_gives_the_target_away(
    tmp_path: Path, factor: float | None, shift: float, leaks: bool
) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=60)
    other = rng.normal(size=60) if factor is None else factor * values + shift
    rows = [{"text": f"words {i}", "other": other[i], "y": values[i]} for i in range(60)]
    assert (("target_leakage", "other") in kinds(report_of(tmp_path, rows))) is leaks


def test_an_informative_category_is_no_leak(tmp_path: Path) -> None:
    rows = [row | {"hint": row["y"] if i % 4 else "yes"} for i, row in enumerate(clean_rows(60))]
    assert ("target_leakage", "hint") not in kinds(report_of(tmp_path, rows))


def test_repeats_and_contradictions_are_noted(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[5] = dict(rows[2])
    rows[8] = rows[3] | {"y": "yes" if rows[3]["y"] == "no" else "no"}
    found = kinds(report_of(tmp_path, rows))
    assert found["duplicate_rows", ""].rows == [5, 8]
    assert found["contradicting_rows", "y"].rows == [3, 8]


# -- media -----------------------------------------------------------------------------------------


def image_bytes(pixels: np.ndarray, format_: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, format_)
    return file.getvalue()


def sound_bytes(samples: np.ndarray, format_: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=format_)
    return file.getvalue()


def noise(size: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (size, size, 3)).astype(np.uint8)


def tone(seconds: float = 0.5, loud: float = 0.5) -> np.ndarray:
    return loud * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)


def media_report(folder: Path, files: dict[str, bytes], type_: str) -> DataReport:
    """A table with a column of paths to ``files``; the last is a sound one, so that not every row is bad."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    rows = [{"file": name, "text": f"text {i}", "y": "ab"[i % 2]} for i, name in enumerate(files)]
    return report_of(folder, rows, inputs={"file": type_, "text": "text"})


GOOD_PICTURE, GOOD_SOUND = image_bytes(noise()), sound_bytes(tone())
BAD_PICTURES = {
    "truncated": (image_bytes(noise(64))[:2000], r"truncated"),
    "text": (b"hello, I am no picture", r"no picture"),
    "empty": (b"", r"empty"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", r"no picture"),
    "sound": (GOOD_SOUND, r"no picture"),
    "zeros": (b"\x89PNG\r\n\x1a\n" + bytes(100), r"."),
}
BAD_SOUNDS = {
    "truncated": (GOOD_SOUND[:-1000], r"truncated"),
    "text": (b"hello, I am no sound", r"no sound"),
    "empty": (b"", r"empty"),
    "picture": (GOOD_PICTURE, r"no sound"),
    "no samples": (sound_bytes(np.zeros(0)), r"."),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture_is_set_aside_with_its_path_and_reason(tmp_path: Path, name: str) -> None:
    data, reason = BAD_PICTURES[name]
    report = media_report(tmp_path, {"bad.png": data, "good.png": GOOD_PICTURE}, "image")
    assert list(report.quarantined) == [0]
    column, told = report.quarantined[0]
    assert column == "file" and "bad.png" in told
    assert re.search(reason, told)
    assert kinds(report)["unreadable_image", "file"].severity == "quarantine"
    assert report.hashes["file"][0] is None and report.hashes["file"][1] is not None


@pytest.mark.parametrize("name", BAD_SOUNDS)
def test_a_bad_sound_is_set_aside_with_its_path_and_reason(tmp_path: Path, name: str) -> None:
    data, reason = BAD_SOUNDS[name]
    report = media_report(tmp_path, {"bad.wav": data, "good.wav": GOOD_SOUND}, "audio")
    assert list(report.quarantined) == [0]
    assert re.search(reason, report.quarantined[0][1])


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere.png", "no such file"),
        ("../outside.png", "outside"),
        ("https://example.org/a.png", "addresses are not"),
        ("data:image/png;base64,@@@.png", "base64"),
    ],
)
def test_a_reference_that_leads_nowhere_is_set_aside(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "outside.png").write_bytes(GOOD_PICTURE)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "good.png").write_bytes(GOOD_PICTURE)
    rows = [{"file": path, "y": "a"}, {"file": "good.png", "y": "b"}, {"file": "", "y": "a"}]
    report = report_of(folder, [row | {"text": f"t {i}"} for i, row in enumerate(rows)], inputs={"file": "image", "text": "text"})
    assert list(report.quarantined) == [0] and reason in report.quarantined[0][1]
    assert kinds(report)["missing_cells", "file"].rows == [2], "an empty cell is missing, not bad"


@pytest.mark.parametrize(
    ("kind", "files", "type_"),
    [
        ("wrong_extension", {"a.png": image_bytes(noise(), "JPEG"), "b.jpg": image_bytes(noise(seed=1), "JPEG")}, "image"),
        ("blank_picture", {"a.png": image_bytes(np.full((32, 32, 3), 240)), "b.png": GOOD_PICTURE}, "image"),
        ("absurd_size", {"a.png": image_bytes(noise(1)), "b.png": GOOD_PICTURE}, "image"),
        ("absurd_size", {"a.png": image_bytes(noise(400)[:9]), "b.png": GOOD_PICTURE}, "image"),
        ("wrong_extension", {"a.wav": sound_bytes(tone(), "FLAC"), "b.flac": sound_bytes(tone(), "FLAC")}, "audio"),
        ("silent_audio", {"a.wav": sound_bytes(np.zeros(RATE)), "b.wav": GOOD_SOUND}, "audio"),
        ("clipped_audio", {"a.wav": sound_bytes(np.clip(tone(loud=3), -1, 1)), "b.wav": GOOD_SOUND}, "audio"),
        ("absurd_size", {"a.wav": sound_bytes(tone(0.01)), "b.wav": GOOD_SOUND}, "audio"),
        ("long_audio", {"a.flac": sound_bytes(tone(31), "FLAC"), "b.wav": GOOD_SOUND}, "audio"),
    ],
)
def test_odd_media_are_used_and_warned_of(tmp_path: Path, kind: str, files: dict[str, bytes], type_: str) -> None:
    report = media_report(tmp_path, files, type_)
    assert not report.quarantined
    finding = kinds(report)[kind, "file"]
    assert finding.rows == [0] and finding.count == 1


def test_the_same_bytes_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from sensorium.modalities import image

    decoded, lock, decode = [], threading.Lock(), image.decode

    def counting(data: bytes, *args: Any, **kwargs: Any) -> np.ndarray:
        with lock:
            decoded.append(data)
        return decode(data, *args, **kwargs)

    monkeypatch.setattr(image, "decode", counting)
    cells = [image_bytes(noise(seed=i // 40)) for i in range(400)]
    rows = [{"image": cell, "y": "ab"[i % 2]} for i, cell in enumerate(cells)]
    report = check(from_rows(rows), Schema({"image": "image"}, "y", "category", "classify", ["a", "b"]), partial(read_media, root=None))
    assert len({report.hashes["image"][row] for row in range(400)}) == 10
    assert len(decoded) <= 10 + 8, "threads may meet at the same new picture, no more"


def test_a_defect_of_ours_is_not_taken_for_bad_data() -> None:
    def broken(reference: Any) -> bytes:
        raise RuntimeError("defect")

    rows = [{"image": GOOD_PICTURE, "y": "ab"[i % 2]} for i in range(4)]
    with pytest.raises(RuntimeError, match="defect"):
        check(from_rows(rows), Schema({"image": "image"}, "y", "category", "classify", ["a", "b"]), broken)


# -- chats -----------------------------------------------------------------------------------------


def chat(content: Any, answer: str = "a cat") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]}


def test_chats_that_are_invalid_or_show_bad_pictures_are_set_aside(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(GOOD_PICTURE)
    (tmp_path / "bad.png").write_bytes(b"no picture at all")

    def showing(name: str) -> list[Any]:
        return [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": name}}]

    rows = [chat("hello"), chat(showing("good.png")), chat(showing("bad.png")), chat(showing("gone.png"))]
    rows += [{"messages": [{"role": "user", "content": "no answer"}]}, {"messages": [{"role": "judge", "content": "x"}]}]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DataRecipe(source=str(path))
    source = open_source(data, tmp_path / "cache")
    report = check(source, infer_schema(source, data), partial(read_media, root=source.root))
    assert sorted(report.quarantined) == [2, 3, 4, 5]
    reasons = [report.quarantined[row][1] for row in (2, 3, 4, 5)]
    for reason, said in zip(reasons, ("bad.png", "no such file", "no answer", "judge"), strict=True):
        assert said in reason
    assert kinds(report)["bad_chat", "messages"].count == 4


# -- stopping, telling, keeping --------------------------------------------------------------------


def test_stop_names_the_first_bad_row_and_how_many(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[4]["y"] = rows[7]["y"] = ""
    with pytest.raises(DataError, match=r"t\.csv row 5.*the target is missing.*2 bad rows"):
        report_of(tmp_path, rows, stop=True)
    assert not report_of(tmp_path, clean_rows(), stop=True).quarantined


def test_quarantine_names_id_file_and_reason_of_every_row_set_aside(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[4]["y"] = rows[7]["y"] = ""
    report = report_of(tmp_path, rows)
    source = open_source(DataRecipe(source=str(tmp_path / "t.csv"), target="y"), tmp_path / "cache")
    report.write_quarantine(tmp_path / "out" / "quarantine.jsonl", source)
    lines = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["id"], line["file"], line["column"], line["reason"]) for line in lines] == [
        (4, "t.csv row 5", "y", "the target is missing"),
        (7, "t.csv row 8", "y", "the target is missing"),
    ]


def test_the_report_is_json_and_its_lines_fit_a_terminal(tmp_path: Path) -> None:
    rows = [row | {"hint\x1b[31m" + "long" * 40: row["y"]} for row in clean_rows()]
    rows[3]["y"] = ""
    report = report_of(tmp_path, rows)
    raw = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert raw["rows"] == 40 and raw["quarantined"] == 1
    assert all({"kind", "column", "count", "severity", "message", "rows"} <= set(finding) for finding in raw["findings"])
    lines = report.lines()
    assert all(len(line) <= 80 and line.isprintable() for line in lines), lines
    assert any("set aside" in line for line in lines)


def test_progress_counts_every_cell() -> None:
    seen: list[tuple[str, int]] = []

    class Counting:
        @contextmanager
        def task(self, name: str, total: int, unit: str = "") -> Any:
            count = 0

            def advance(more: int = 1) -> None:
                nonlocal count
                count += more

            yield advance
            assert count == total
            seen.append((name, total))

    rows = [{"image": GOOD_PICTURE, "y": "ab"[i % 2]} for i in range(70)]
    check(from_rows(rows), Schema({"image": "image"}, "y", "category", "classify", ["a", "b"]), partial(read_media, root=None), Counting())
    assert [total for _, total in seen] == [70]


CELLS = {
    "text": st.sampled_from(["", "  ", "some words", "other", None]),
    "size": st.sampled_from(["", "1.5", "inf", "nan", "abc", "7", None]),
    "when": st.sampled_from(["", "2024-01-02", "never", None]),
    "y": st.sampled_from(["", "3", "2.5", "-inf", "nan", "two", None]),
}


@settings(max_examples=100)
@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=8))
def test_a_row_is_kept_if_and_only_if_it_has_an_input_and_a_target(table: list[dict[str, Any]]) -> None:
    """Against what ``Rows`` gives: nothing that reaches training lacks a target or all inputs."""
    source: Source = from_rows(table)
    schema = Schema({"text": "text", "size": "number", "when": "time"}, "y", "number", "classify")
    report = check(source, schema, bytes)
    for example in Rows(source, schema):
        usable = example.target is not None and any(value is not None for value in example.inputs.values())
        assert (example.row not in report.quarantined) is usable, (table[example.row], report.quarantined)


def test_many_text_rows_are_checked_in_seconds() -> None:
    import pyarrow as pa

    count = 200_000
    table = pa.table(
        {
            "text": [f"Words of row {i} and a few more, with ünïcode" for i in range(count)],
            "size": np.arange(count) * 0.5,
            "y": [("a", "b", "c")[i * 7 % 3] for i in range(count)],
        }
    )
    source, schema = from_rows(table), Schema({"text": "text", "size": "number"}, "y", "category", "classify", ["a", "b", "c"])
    start = time.process_time()
    report = check(source, schema, bytes)
    assert time.process_time() - start < 10
    assert not report.quarantined
