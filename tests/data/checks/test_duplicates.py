"""What splits share: equal and alike pictures, equal rows; against brute force."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from sensorium.data.checks import duplicates
from sensorium.data.checks.check import check_splits
from sensorium.data.checks.duplicates import DISTANCE, among, contradicting, near_pairs, repeated
from sensorium.data.splits import Splits
from tests.data.checks_data import examine, kinds, only, picture, schema_of, sound, table


def parts(train: list[int], validation: list[int], test: list[int]) -> Splits:
    return Splits(*(np.array(part, dtype=np.int64) for part in (train, validation, test)), method="given")


def across(rows: list[dict[str, Any]], schema: Any, splits: Splits) -> Any:
    source = table(rows)
    report = examine(source, schema)
    return check_splits(source, schema, splits, report.hashes, report.row_keys)


# -- arrays ----------------------------------------------------------------------------------------

hashes = arrays(np.uint64, st.integers(0, 40), elements=st.integers(0, 2**64 - 1))


@given(hashes, st.integers(0, 2**32))
def test_near_pairs_are_those_of_brute_force(left: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    flips = np.array(
        [sum(1 << int(b) for b in rng.choice(64, rng.integers(0, 8), replace=False)) for _ in left], dtype=np.uint64
    )
    right = np.concatenate([left ^ flips, rng.integers(0, 2**64, 5, dtype=np.uint64)])
    expected = {
        (i, j) for i, a in enumerate(left) for j, b in enumerate(right) if (int(a) ^ int(b)).bit_count() <= DISTANCE
    }
    pairs, complete = near_pairs(left, right)
    assert complete
    assert {(int(i), int(j)) for i, j in pairs} == expected and len(pairs) == len(expected)


def test_near_pairs_work_in_small_blocks_and_within_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    left = np.repeat(np.arange(6, dtype=np.uint64), 10)
    whole, _ = near_pairs(left, left)
    monkeypatch.setattr(duplicates, "BLOCK", 7)
    blocks, complete = near_pairs(left, left)
    assert complete and np.array_equal(whole, blocks)
    monkeypatch.setattr(duplicates, "BUDGET", 100)
    some, complete = near_pairs(left, left)
    assert not complete and 0 < len(some) < len(whole)


def test_near_pairs_of_many_are_fast() -> None:
    import time

    rng = np.random.default_rng(0)
    left, right = (rng.integers(0, 2**64, 30_000, dtype=np.uint64) for _ in range(2))
    right[:100] = left[:100] ^ np.uint64(0b1011)
    begun = time.perf_counter()
    pairs, complete = near_pairs(left, right)
    assert time.perf_counter() - begun < 10
    assert complete and [tuple(pair) for pair in pairs.tolist()] == [(i, i) for i in range(100)]


small = st.lists(st.integers(0, 6), max_size=30)


@given(small, small)
def test_among(queries: list[int], keys: list[int]) -> None:
    found = among(np.array(queries, dtype=np.uint64), np.array(keys, dtype=np.uint64))
    assert found.tolist() == [query in keys for query in queries]


@given(small)
def test_repeated(keys: list[int]) -> None:
    assert repeated(np.array(keys, dtype=np.uint64)).tolist() == [i for i, key in enumerate(keys) if key in keys[:i]]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=20))
def test_contradicting(pairs: list[tuple[int, int]]) -> None:
    keys, targets = (np.array(part, dtype=np.uint64) for part in (list(zip(*pairs)) if pairs else ([], [])))
    expected = [i for i, (key, target) in enumerate(pairs) if any(k == key and t != target for k, t in pairs)]
    assert contradicting(keys, targets).tolist() == expected


# -- pictures and sounds ---------------------------------------------------------------------------

PICTURES = schema_of({"p": "image"}, "y", classes=["a", "b"])


def rows_of(data: list[bytes]) -> list[dict[str, Any]]:
    return [{"p": {"bytes": one}, "y": "a"} for one in data]


def test_equal_pictures_in_two_splits() -> None:
    data = [picture(i) for i in range(8)]
    data[5], data[7] = data[0], data[6]  # 5: validation as train; 7: test as validation
    findings = across(rows_of(data), PICTURES, parts([0, 1, 2, 3], [5, 6], [4, 7]))
    finding = only(findings, "duplicates_across_splits")
    assert (finding.rows, finding.count, finding.severity, finding.column) == ([5, 7], 2, "warning", "p")
    assert finding.message == "2 of 4 rows (50 %) in validation or test have a picture that another split has too"
    assert "duplicate_rows_across_splits" not in kinds(findings)  # it would say the same again
    assert "near_duplicates_across_splits" not in kinds(findings)


def test_pictures_that_look_alike_in_two_splits() -> None:
    data = [picture(i) for i in range(10)]
    data[7], data[8] = picture(0, format_="JPEG", quality=60), picture(1, size=96)
    finding = only(
        across(rows_of(data), PICTURES, parts([0, 1, 2, 3, 4], [5, 6], [7, 8, 9])), "near_duplicates_across_splits"
    )
    assert finding.count == 2
    assert "rows 7 and 0, 8 and 1" in finding.message


def test_the_same_shape_in_another_colour_is_another_picture() -> None:
    def tinted(channel: int) -> bytes:
        grey = np.asarray(Image.open(io.BytesIO(picture(0))).convert("L"))
        pixels = np.full((*grey.shape, 3), 40, dtype=np.uint8)
        pixels[..., channel] = grey
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()

    findings = across(rows_of([tinted(0), picture(3), tinted(2)]), PICTURES, parts([0], [1], [2]))
    assert findings == []


def test_blank_pictures_do_not_look_alike() -> None:
    def flat(level: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (40 + level, 40), (200, 200, 200 + level)).save(file, "PNG")
        return file.getvalue()

    findings = across(rows_of([flat(0), flat(1), flat(2)]), PICTURES, parts([0], [1], [2]))
    assert findings == []


def test_equal_sounds_in_two_splits() -> None:
    data = [sound(0), sound(1), sound(2), sound(0)]
    rows = [{"s": {"bytes": one}, "y": "ab"[i % 2]} for i, one in enumerate(data)]
    schema = schema_of({"s": "audio"}, "y", classes=["a", "b"])
    finding = only(across(rows, schema, parts([0, 1], [2], [3])), "duplicates_across_splits")
    assert "have a sound that another split has too" in finding.message


def test_a_picture_shared_by_questions_of_one_split_is_no_duplicate() -> None:
    rows = [{"p": {"bytes": picture(i // 2)}, "q": f"question {i % 2}", "y": f"answer {i}"} for i in range(6)]
    schema = schema_of({"p": "image", "q": "text"}, "y", "text")
    assert across(rows, schema, parts([0, 1], [2, 3], [4, 5])) == []
    assert kinds(across(rows, schema, parts([0, 2], [3], [1, 4, 5]))) == {"duplicates_across_splits"}


# -- rows ------------------------------------------------------------------------------------------


def test_equal_texts_in_two_splits() -> None:
    schema = schema_of({"x": "text"}, "y", classes=["a", "b"])
    rows = [
        {"x": x, "y": "ab"[i % 2]} for i, x in enumerate(["One thing", "another", "third", " one  THING", "fourth"])
    ]
    finding = only(across(rows, schema, parts([0, 1], [2], [3, 4])), "duplicate_rows_across_splits")
    assert (finding.rows, finding.severity) == ([3], "warning")
    assert finding.message.startswith("1 of 3 rows (33 %) in validation or test have the same inputs")


def test_all_inputs_must_be_equal_and_columns_are_told_apart() -> None:
    rows = [
        {"x": "a", "z": "b", "n": 1.0, "y": "a"},
        {"x": "b", "z": "a", "n": 1.0, "y": "a"},
        {"x": "a", "z": "b", "n": 2.0, "y": "a"},
        {"x": "a", "z": None, "n": 1.0, "y": "a"},
        {"x": "a", "z": "b", "n": None, "y": "a"},
    ]
    schema = schema_of({"x": "text", "z": "text", "n": "number"}, "y", classes=["a", "b"])
    assert across(rows, schema, parts([0], [1, 2], [3, 4])) == []
    assert only(across([*rows, rows[0]], schema, parts([0], [1, 2], [3, 5])), "duplicate_rows_across_splits").rows == [
        5
    ]


def test_few_categories_repeat_by_nature() -> None:
    rows = [{"c": "pq"[i % 2], "y": "ab"[i % 3 % 2]} for i in range(12)]
    schema = schema_of({"c": "category"}, "y", classes=["a", "b"])
    finding = only(across(rows, schema, parts(list(range(6)), [6, 7], [8, 9, 10, 11])), "duplicate_rows_across_splits")
    assert finding.severity == "note"


def test_classes_that_no_training_row_has() -> None:
    rows = [{"x": f"t {i}", "y": y} for i, y in enumerate("aabbcc")]
    schema = schema_of({"x": "text"}, "y", classes=["a", "b", "c"])
    finding = only(across(rows, schema, parts([0, 1, 2], [3], [4, 5])), "classes_not_trained")
    assert finding.rows == [4, 5] and "'c'" in finding.message


def test_row_keys_are_found_anew_where_not_given() -> None:
    source = table([{"x": x, "y": "a"} for x in ("one", "two", "one")])
    schema = schema_of({"x": "text"}, "y", classes=["a"])
    assert kinds(check_splits(source, schema, parts([0], [1], [2]), {})) == {"duplicate_rows_across_splits"}


def test_empty_parts() -> None:
    assert across(rows_of([picture(0), picture(1)]), PICTURES, parts([0, 1], [], [])) == []
