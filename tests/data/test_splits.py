"""Splits as properties: a partition, groups whole, shares within bounds, the same for the same seed."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.columns import codes, numbers, times
from sensorium.data.schema import Schema
from sensorium.data.sources import from_rows
from sensorium.data.splits import choose_rows, split
from sensorium.errors import DataError
from sensorium.recipe import SplitRecipe


def source_of(**cells):
    return from_rows(pa.table({name: pa.array(values) for name, values in cells.items()}), name="t.csv")


def schema_of(kind="category", **more):
    return Schema({"x": "number"}, "y", kind, "classify", **more)


def parts_of(source, spec, schema=None, keep=None):
    keep = np.arange(len(source)) if keep is None else keep
    found = split(source, schema or schema_of(), spec, keep)
    together = np.concatenate([found.train, found.validation, found.test])
    rows = np.flatnonzero(keep) if keep.dtype == bool else np.sort(keep)
    assert np.array_equal(np.sort(together), rows)  # every kept row in exactly one part
    for part in (found.train, found.validation, found.test):
        assert part.dtype == np.int64 and np.all(np.diff(part) > 0)
    return found


shares = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.33, 0.45])


@settings(max_examples=100, deadline=None)
@given(rows=st.integers(3, 400), validation=shares, test=shares, seed=st.integers(0, 5), data=st.data())
def test_random(rows, validation, test, seed, data):
    source = source_of(x=np.arange(rows), y=["a"] * rows)
    spec = SplitRecipe(validation=validation, test=test, seed=seed)
    found = parts_of(source, spec)
    for part, share in ((found.validation, validation), (found.test, test)):
        assert abs(len(part) - share * rows) <= 1 and (len(part) > 0) == (share > 0)
    assert len(found.train) >= 1
    again = parts_of(source, spec)
    assert all(np.array_equal(getattr(found, p), getattr(again, p)) for p in ("train", "validation", "test"))
    if rows > 20:  # setting one row aside moves at most the rows at the borders
        out = data.draw(st.integers(0, rows - 1))
        fewer = parts_of(source, spec, keep=np.delete(np.arange(rows), out))
        assert len(np.setxor1d(fewer.test, found.test)) <= 3
    if rows > 100 and test:
        other = parts_of(source, spec.model_copy(update={"seed": seed + 1}))
        assert not np.array_equal(other.test, found.test)


@settings(max_examples=100, deadline=None)
@given(
    groups=st.lists(st.integers(0, 40), min_size=4, max_size=300).filter(lambda g: len(set(g)) >= 3),
    validation=shares,
    test=shares,
    seed=st.integers(0, 3),
    stratify=st.booleans(),
)
def test_grouped(groups, validation, test, seed, stratify):
    rows = len(groups)
    source = source_of(x=np.arange(rows), y=[f"c{g % 3}" for g in groups], g=[f"g{g}" for g in groups])
    spec = SplitRecipe(validation=validation, test=test, group_by="g", seed=seed, stratify=stratify)
    found = parts_of(source, spec)
    members = [{groups[row] for row in part} for part in (found.train, found.validation, found.test)]
    assert not (members[0] & members[1] or members[0] & members[2] or members[1] & members[2])
    assert len(found.train) and (len(found.validation) > 0) == (validation > 0) and (len(found.test) > 0) == (test > 0)
    largest = max(np.unique(groups, return_counts=True)[1])
    if not stratify:
        for part, share in ((found.validation, validation), (found.test, test)):
            assert len(part) <= share * rows + largest + 1
        if len(set(groups)) > 10 and largest <= min([s for s in (validation, test) if s], default=0) * rows:
            assert abs(len(found.test) - test * rows) <= largest + 1


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 120), min_size=2, max_size=8),
    validation=shares,
    test=shares,
    seed=st.integers(0, 3),
    shuffle=st.randoms(use_true_random=False),
)
def test_stratified(counts, validation, test, seed, shuffle):
    labels = [f"c{i}" for i, count in enumerate(counts) for _ in range(count)]
    shuffle.shuffle(labels)
    rows = len(labels)
    if rows < 3:
        return
    source = source_of(x=np.arange(rows), y=labels)
    found = parts_of(source, SplitRecipe(validation=validation, test=test, stratify=True, seed=seed))
    labels = np.array(labels)
    for name in np.unique(labels):
        total = np.sum(labels == name)
        for part in (found.validation, found.test):
            assert abs(np.sum(labels[part] == name) - len(part) / rows * total) < 2.01
    assert abs(len(found.test) - test * rows) <= 1


def test_stratified_by_number_covers_the_range():
    rng = np.random.default_rng(0)
    values = rng.exponential(size=500)
    source = source_of(x=np.arange(500), y=values)
    found = parts_of(source, SplitRecipe(stratify=True), schema_of("number"))
    deciles = np.quantile(values, np.linspace(0, 1, 11))
    counts, _ = np.histogram(values[found.test], deciles)
    assert counts.min() >= 8 and counts.max() <= 12  # of 10 expected
    with pytest.raises(DataError, match="only classes and numbers can be stratified by"):
        parts_of(source, SplitRecipe(stratify=True), schema_of("text"))


def test_missing_groups_are_rows_of_their_own():
    source = source_of(x=np.arange(100), y=["a"] * 100, g=[None, "", " "] * 30 + ["g"] * 10)
    found = parts_of(source, SplitRecipe(group_by="g"))
    assert len(found.test) >= 15 and len({*range(90, 100)} & set(found.test)) in (0, 10)


def test_one_giant_group_trains_and_the_others_are_shared_out():
    groups = ["big"] * 900 + [f"g{i}" for i in range(100)]
    source = source_of(x=np.arange(1000), y=["a"] * 1000, g=groups)
    found = parts_of(source, SplitRecipe(group_by="g"))
    assert set(range(900)) <= set(found.train)
    assert len(found.test) > len(found.validation) > 20


def test_by_time_never_looks_ahead():
    days = [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(300)]
    source = source_of(x=np.arange(300), y=["a"] * 300, t=days)
    found = parts_of(source, SplitRecipe(by_time="t"))
    when = np.array(days)
    assert max(when[found.train]) < min(when[found.validation]) and max(when[found.validation]) < min(when[found.test])
    assert abs(len(found.test) - 60) <= 12 and "oldest rows train" in found.method
    years = source_of(x=np.arange(50), y=["a"] * 50, t=[2000 + i // 5 for i in range(50)])
    assert set(np.arange(40, 50)) == set(parts_of(years, SplitRecipe(by_time="t")).test)


def test_by_column_with_all_spellings():
    values = ["train", "Training", " TRAIN ", "val", "valid", "dev", "validation", "Test", "test"]
    found = parts_of(source_of(x=np.arange(9), y=["a"] * 9, part=values), SplitRecipe(column="part"))
    assert [found.train.tolist(), found.validation.tolist(), found.test.tolist()] == [[0, 1, 2], [3, 4, 5, 6], [7, 8]]
    assert found.method == "given by column part"


def test_a_missing_validation_part_is_cut_from_train_stratified():
    labels = ["a", "b", "b", "b"] * 50
    part = ["train"] * 160 + ["test"] * 40
    source = source_of(x=np.arange(200), y=labels, part=part)
    found = parts_of(source, SplitRecipe(column="part", validation=0.1))
    assert found.test.tolist() == list(range(160, 200)) and len(found.validation) == 16
    assert [labels[i] for i in found.validation].count("a") == 4
    assert "validation cut from train, seed 0" in found.method
    none = parts_of(source, SplitRecipe(column="part", validation=0))
    assert len(none.validation) == 0
    grouped = source_of(x=np.arange(200), y=labels, part=part, g=[f"g{i // 4}" for i in range(200)])
    found = parts_of(grouped, SplitRecipe(column="part"), schema_of(group="g"))
    assert all(len({*range(4 * g, 4 * g + 4)} & set(found.validation)) in (0, 4) for g in range(50))


def test_the_datas_own_split_and_group_hold_without_a_recipe():
    source = source_of(x=np.arange(6), y=["a"] * 6, split=["train"] * 3 + ["val"] + ["test"] * 2)
    assert parts_of(source, SplitRecipe(), schema_of(split="split")).test.tolist() == [4, 5]
    grouped = source_of(x=np.arange(60), y=["a"] * 60, g=[i // 3 for i in range(60)])
    found = parts_of(grouped, SplitRecipe(), schema_of(group="g"))
    assert found.method == "grouped by g, seed 0" and all(
        len({3 * g, 3 * g + 1, 3 * g + 2} & set(found.test)) in (0, 3) for g in range(20)
    )


PICTURES = [{"bytes": b"x", "path": None}] * 9
LATE = ["2024-01-01", "yesterday"] + ["2024-01-02"] * 7


@pytest.mark.parametrize(
    ("name", "values", "spec", "message"),
    [
        ("g", ["p", "q"], {}, "2 usable rows are too few for 3 parts"),
        ("g", ["p", "p", "q", "q", "q"], {"group_by": "g"}, "column g: 2 groups are too few for 3 parts"),
        (
            "s",
            ["train", "test", "holdout"],
            {"column": "s"},
            r"row 3: 'holdout' in column s names no part; write train",
        ),
        ("s", ["train", "test", None], {"column": "s"}, "row 3: column s is empty"),
        ("s", ["train", "train", "val"], {"column": "s"}, "column s: no row is test"),
        ("s", ["test", "test", "val"], {"column": "s"}, "no row is train"),
        ("s", ["train", "test", "test"], {"column": "s"}, "1 row to train on is too few to cut validation"),
        ("s", [1, 2, 3], {"column": "s"}, "'1' in column s names no part"),
        ("t", ["2024-01-01"] * 9, {"by_time": "t"}, "too few different times"),
        ("t", LATE, {"by_time": "t"}, "row 2: 1 rows have no time"),
        ("g", PICTURES, {"group_by": "g"}, "cannot be grouped by pictures"),
        ("g", PICTURES, {"column": "g"}, "name no parts"),
        ("g", PICTURES, {"by_time": "g"}, "have no time"),
    ],
)
def test_splits_that_cannot_be(name, values, spec, message):
    source = source_of(**{"x": [1] * len(values), "y": ["a"] * len(values), name: values})
    with pytest.raises(DataError, match=message):
        split(source, schema_of(), SplitRecipe(**spec), np.arange(len(source)))


def test_keep_as_booleans_and_out_of_range():
    source = source_of(x=np.arange(50), y=["a"] * 50)
    mask = np.arange(50) % 2 == 0
    assert np.array_equal(
        parts_of(source, SplitRecipe(), keep=mask).test, parts_of(source, SplitRecipe(), keep=np.flatnonzero(mask)).test
    )
    for wrong in (np.array([True] * 3), np.array([50]), np.array([-1])):
        with pytest.raises(ValueError, match="keep"):
            split(source, schema_of(), SplitRecipe(), wrong)


def test_a_million_rows_part_in_seconds():
    import time

    rows = 1_000_000
    groups = np.random.default_rng(0).integers(0, 200_000, rows)
    source = from_rows(pa.table({"x": np.arange(rows), "y": np.arange(rows) % 7, "g": groups}))
    began = time.process_time()
    found = split(source, schema_of(), SplitRecipe(group_by="g"), np.arange(rows))
    assert time.process_time() - began < 10
    assert abs(len(found.test) - 200_000) < 100 and not np.intersect1d(groups[found.train], groups[found.test]).size


def test_a_fixed_choice_of_rows():
    keep = np.arange(5, 105)
    chosen = choose_rows(keep, 10, seed=1)
    assert len(chosen) == 10 and set(chosen) <= set(keep) and np.all(np.diff(chosen) > 0)
    assert np.array_equal(chosen, choose_rows(keep[::-1], 10, seed=1))
    assert np.array_equal(choose_rows(keep, None, 0), keep) and np.array_equal(choose_rows(keep, 100, 0), keep)


def test_whole_columns_as_arrays():
    source = source_of(
        t=["2024-01-01", "2024-01-01T00:00:10Z", "2024-01-01T01:00:10+01:00", None, "soon"],
        n=["1", " +2.5 ", "x", None, "1e400"],
        c=["a", "b", " a", None, None],
    )
    seconds = times(source, "t")
    assert np.array_equal(seconds[1:3] - seconds[0], [10, 10]) and np.isnan(seconds[3:]).all()
    assert np.array_equal(numbers(source.table["n"]), [1, 2.5, np.nan, np.nan, np.nan], equal_nan=True)
    found = codes(source, "c", np.arange(5))
    assert found[0] == found[2] and len(set(found)) == 4
