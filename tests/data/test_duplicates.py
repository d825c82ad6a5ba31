"""Duplicates: banding finds what comparing every pair finds; equal rows, media and look-alikes across splits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sensorium.data import duplicates
from sensorium.data.checks import check, check_splits
from sensorium.data.checks_report import MediaHashes
from sensorium.data.duplicates import BANDS, DISTANCE, contradicting, near_pairs, repeated
from sensorium.data.media import read_media
from sensorium.data.schema import Schema
from sensorium.data.splits import Splits
from sensorium.data.tables import Source, from_rows


def bits(value: int) -> int:
    return value.bit_count()


@st.composite
def hashes(draw: Any) -> tuple[list[int], list[int]]:
    """Hashes of which some differ from one another in few bits, so that near pairs exist."""
    base = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6))
    masks = st.lists(st.integers(0, 63), max_size=DISTANCE + 2)

    def moved() -> int:
        value = draw(st.sampled_from(base))
        for bit in draw(masks):
            value ^= 1 << bit
        return value

    return [moved() for _ in range(draw(st.integers(0, 12)))], [moved() for _ in range(draw(st.integers(0, 12)))]


@given(hashes())
def test_banding_finds_every_pair_that_brute_force_finds(pair: tuple[list[int], list[int]]) -> None:
    left, right = pair
    found, complete = near_pairs(np.array(left, dtype=np.uint64), np.array(right, dtype=np.uint64))
    wanted = [[i, j] for i, a in enumerate(left) for j, b in enumerate(right) if bits(a ^ b) <= DISTANCE]
    assert complete
    assert found.tolist() == wanted


def test_a_pair_with_differences_in_all_bands_but_one_is_found_and_one_more_is_not() -> None:
    edges = [64 * band // BANDS for band in range(BANDS)]
    four = sum(1 << edge for edge in edges[:DISTANCE])
    found, _ = near_pairs(np.array([0], np.uint64), np.array([four, four | 1 << 63], np.uint64))
    assert found.tolist() == [[0, 0]]


def test_a_search_cut_short_says_so(monkeypatch: Any) -> None:
    monkeypatch.setattr(duplicates, "BUDGET", 10)
    same = np.zeros(100, dtype=np.uint64)
    assert near_pairs(same, same)[1] is False
    assert near_pairs(same[:3], same[:3])[1] is True


def test_many_hashes_are_compared_in_seconds_not_pair_by_pair() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**63, 100_000).astype(np.uint64)
    queries = keys[:50] ^ np.uint64(0b1011)  # 10^10 pairs if all were compared with 100,000
    found, complete = near_pairs(np.concatenate([queries, rng.integers(0, 2**63, 99_950).astype(np.uint64)]), keys)
    assert complete and {(i, i) for i in range(50)} <= set(map(tuple, found.tolist()))


@given(st.lists(st.integers(0, 5), max_size=30))
def test_repeated_is_every_occurrence_but_the_first(values: list[int]) -> None:
    wanted = [i for i, value in enumerate(values) if value in values[:i]]
    assert repeated(np.array(values, dtype=np.uint64)).tolist() == wanted


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=30))
def test_contradicting_is_every_row_whose_inputs_have_two_targets(pairs: list[tuple[int, int]]) -> None:
    keys, targets = (np.array([pair[k] for pair in pairs], dtype=np.uint64) for k in (0, 1))
    wanted = [i for i, (k, _) in enumerate(pairs) if len({t for key, t in pairs if key == k}) > 1]
    assert contradicting(keys, targets).tolist() == wanted


# -- across splits ---------------------------------------------------------------------------------


def splits_of(train: list[int], validation: list[int], test: list[int]) -> Splits:
    return Splits(*(np.array(part, dtype=np.int64) for part in (train, validation, test)), "by hand")


def across(source: Source, schema: Schema, splits: Splits) -> dict[tuple[str, str], Any]:
    report = check(source, schema, lambda reference: read_media(reference, None))
    found = check_splits(source, schema, splits, report.hashes, report.row_keys)
    assert found == check_splits(source, schema, splits, report.hashes), "row keys computed anew must agree"
    return {(finding.kind, finding.column): finding for finding in found}


def texts(values: list[Any]) -> tuple[Source, Schema]:
    rows = [{"text": value, "y": "ab"[i % 2]} for i, value in enumerate(values)]
    return from_rows(rows), Schema({"text": "text"}, "y", "category", "classify", ["a", "b"])


def test_texts_equal_but_for_case_and_white_space_are_found_across_splits() -> None:
    source, schema = texts(["One two", "three", "four", "five", "  ONE\ttwo ", "six", "seven", "four"])
    found = across(source, schema, splits_of([0, 1, 2, 3], [6, 7], [4, 5]))
    finding = found["duplicate_rows_across_splits", ""]
    assert (finding.count, finding.severity, sorted(finding.rows)) == (2, "warning", [4, 7])
    assert "2 of 4 rows" in finding.message


def test_different_texts_are_not_duplicates() -> None:
    source, schema = texts(["one", "two", "three", "four", "five", "six"])
    assert not across(source, schema, splits_of([0, 1, 2, 3], [4], [5]))


def test_a_repeat_within_training_is_no_leak_across_splits() -> None:
    source, schema = texts(["one", "one", "two", "three", "four", "five"])
    assert not across(source, schema, splits_of([0, 1, 2, 3], [4], [5]))


def picture(rng: np.random.Generator, noise: float = 0.0, seed: int = 0, size: int = 64) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)).astype(float)
    return np.clip(pixels + noise * rng.normal(size=pixels.shape), 0, 255).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pictures(cells: list[bytes], other: list[str] | None = None) -> tuple[Source, Schema]:
    columns: dict[str, Any] = {"image": [{"bytes": cell, "path": None} for cell in cells]}
    columns["y"] = ["ab"[i % 2] for i in range(len(cells))]
    inputs: dict[str, Any] = {"image": "image"}
    if other is not None:
        columns["text"], inputs["text"] = other, "text"
    source = from_rows(pa.table(columns))
    return source, Schema(inputs, "y", "category", "classify", ["a", "b"])


def test_the_same_picture_with_another_question_is_found_by_its_bytes() -> None:
    rng = np.random.default_rng(0)
    cells = [png(picture(rng, seed=seed)) for seed in (1, 2, 3, 4, 1, 5)]
    source, schema = pictures(cells, ["what?", "who?", "where?", "when?", "why?", "how?"])
    found = across(source, schema, splits_of([0, 1, 2, 3], [5], [4]))
    assert found["duplicates_across_splits", "image"].rows == [4]
    assert ("duplicate_rows_across_splits", "") not in found, "the questions differ"


def test_pictures_that_look_alike_are_found_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    cells = [png(picture(rng, seed=seed)) for seed in (1, 2, 3, 4)]
    cells += [png(picture(rng, noise=2.0, seed=2)), png(picture(rng, seed=9))]
    source, schema = pictures(cells)
    found = across(source, schema, splits_of([0, 1, 2, 3], [5], [4]))
    finding = found["near_duplicates_across_splits", "image"]
    assert finding.count == 1 and "4 and 1" in finding.message
    assert ("duplicates_across_splits", "image") not in found, "no bytes are equal"


def test_pictures_that_differ_in_colour_alone_are_not_alike() -> None:
    """The perceptual hash sees no colour: flags and hearts of other colours must not pass for duplicates."""
    rng = np.random.default_rng(0)
    red = picture(rng, seed=1)
    cells = [png(red), png(picture(rng, seed=2)), png(picture(rng, seed=3)), png(red[..., ::-1])]
    source, schema = pictures(cells)
    assert not across(source, schema, splits_of([0, 1], [2], [3]))


def test_blank_pictures_are_not_taken_for_look_alikes() -> None:
    cells = [png(np.full((16, 16, 3), level, np.uint8)) for level in (200, 201, 202, 203)]
    source, schema = pictures(cells)
    assert not across(source, schema, splits_of([0, 1], [2], [3]))


def test_classes_that_training_lacks_are_named() -> None:
    rows = [{"text": f"text {i}", "y": "c" if i == 5 else "ab"[i % 2]} for i in range(6)]
    schema = Schema({"text": "text"}, "y", "category", "classify", ["a", "b", "c"])
    finding = across(from_rows(rows), schema, splits_of([0, 1, 2, 3], [4], [5]))["classes_not_trained", "y"]
    assert (finding.count, finding.rows) == (1, [5]) and "'c'" in finding.message


def test_hashes_are_hex_digests_or_none(tmp_path: Path) -> None:
    import hashlib

    data = png(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    source, schema = pictures([data, data])
    report = check(source, schema, lambda reference: read_media(reference, None))
    found = report.hashes["image"]
    assert isinstance(found, MediaHashes) and len(found) == 2
    assert found[0] == found[1] == hashlib.sha256(data).hexdigest()
    assert MediaHashes(1)[0] is None
