"""The table codec against NumPy, at the edges of days and years, and with every kind of bad cell."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import DataError
from sensorium.modalities import table
from sensorium.modalities.table import CLIP, MISSING, UNSEEN, TableCodec

cells = st.one_of(
    st.none(),
    st.floats(),
    st.integers(),
    st.text(max_size=9),
    st.datetimes(),
    st.tuples(st.floats(), st.floats()),
    st.booleans(),
)


def mixed() -> TableCodec:
    return TableCodec.fit(
        {
            "age": ("number", [1.0, None, 3.0, 5.0]),
            "colour": ("category", ["red", None, "blue", "red "]),
            "when": ("time", [datetime(2024, 1, 1), None, datetime(2024, 1, 3)]),
            "where": ("place", [(52.0, 4.0), None]),
        }
    )


def test_numbers_are_standardised_as_numpy_does() -> None:
    values = np.random.default_rng(0).normal(1e6, 3, 20_000)
    found = TableCodec.fit({"x": ("number", iter(values.tolist()))}).transform_batch({"x": values})["numbers"]
    assert found.dtype == np.float32
    assert np.abs(found[:, 0] - (values - values.mean()) / values.std()).max() < 1e-3
    assert not found[:, 1].any()


def test_every_way_to_give_a_column_fits_the_same() -> None:
    values = [1.5, None, 2.5, 1e3, -7.0] * 4000
    ways = [
        values,
        iter(values),
        tuple(values),
        pa.array(values),
        pa.chunked_array([values[:7], values[7:]]),
        np.array([math.nan if v is None else v for v in values]),
    ]
    codecs = [TableCodec.fit({"x": ("number", way)}).to_dict()["columns"][0] for way in ways]
    for codec in codecs:
        assert codec["mean"] == pytest.approx(np.mean([v for v in values if v is not None]))
        assert codec["scale"] == pytest.approx(np.std([v for v in values if v is not None]))


@given(st.lists(st.one_of(st.none(), st.floats(), st.text(max_size=3)), max_size=30))
def test_any_numbers_give_finite_features(values: list[object]) -> None:
    codec = TableCodec.fit({"x": ("number", values)})
    found = codec.transform_batch({"x": values})["numbers"]
    assert found.shape == (len(values), 2)
    assert np.isfinite(found).all() and np.abs(found).max(initial=0) <= CLIP
    for value, row in zip(values, found):
        try:
            missing = value is None or not math.isfinite(float(value))  # type: ignore[arg-type]
        except ValueError:
            missing = True
        assert row[1] == missing


def test_inf_and_nan_do_not_spoil_the_fit() -> None:
    clean, dirty = ([1.0, 2.0, 3.0], [1.0, math.nan, 2.0, math.inf, -math.inf, None, "many", 3.0])
    assert TableCodec.fit({"x": ("number", clean)}) == TableCodec.fit({"x": ("number", dirty)})
    assert TableCodec.fit({"x": ("number", [None, math.nan])}).transform({"x": 3.0})["numbers"].tolist() == [3.0, 0.0]


def test_a_constant_column_is_zero_and_a_wild_cell_is_cut() -> None:
    codec = TableCodec.fit({"x": ("number", [0.1] * 9)})
    assert codec.transform({"x": 0.1})["numbers"][0] == pytest.approx(0, abs=1e-6)
    wild = TableCodec.fit({"x": ("number", [0.0, 1.0])}).transform({"x": 1e300})["numbers"]
    assert wild.tolist() == [CLIP, 0.0]


def test_categories() -> None:
    codec = mixed()

    def ids(value: object) -> int:
        return int(codec.transform({"colour": value})["categories"][0])

    assert [ids("blue"), ids("red"), ids(" red")] == [2, 3, 3]
    assert ids("green") == UNSEEN
    assert ids(None) == ids("  ") == ids(math.nan) == MISSING
    assert codec.sizes()["categories"] == [4]
    whole = TableCodec.fit({"n": ("category", [1.0, 2, "3"])})
    assert whole.transform({"n": "1"})["categories"].tolist() == whole.transform({"n": 1})["categories"].tolist() == [2]


def test_the_most_frequent_categories_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MOST_VALUES", 3)
    often = [v for v in "abc" for _ in range(100_000 // 3)]
    rare = (f"rare {i}" for i in range(20_000))
    values = (v for pair in zip(often, list(rare) * 5) for v in pair)
    codec = TableCodec.fit({"x": ("category", values)})
    assert codec.columns[0].values == ["a", "b", "c"]


def test_times_turn_without_a_jump() -> None:
    codec = TableCodec.fit({"t": ("time", [datetime(2020, 1, 1), datetime(2026, 1, 1)])})
    names = codec.names()

    def features(time: datetime) -> np.ndarray:
        return codec.transform({"t": time})["numbers"].astype(np.float64)

    for moment in (datetime(2024, 1, 1), datetime(2025, 1, 1), datetime(2023, 5, 7), datetime(2024, 3, 1)):
        step = features(moment) - features(moment - timedelta(seconds=1))
        assert np.abs(step).max() < 1e-3, (moment, dict(zip(names, step)))
    noon, midnight = features(datetime(2024, 5, 1, 12)), features(datetime(2024, 5, 1))
    assert noon[names.index("t hour cos")] == pytest.approx(-1)
    assert midnight[names.index("t hour cos")] == pytest.approx(1)
    monday, next_monday = features(datetime(2024, 5, 6)), features(datetime(2024, 5, 13))
    weekday = [names.index("t weekday sin"), names.index("t weekday cos")]
    assert np.abs(monday - next_monday)[weekday].max() < 1e-6
    assert monday[weekday].tolist() == pytest.approx([0, 1], abs=1e-6)


def test_every_way_to_write_a_time() -> None:
    codec = TableCodec.fit({"t": ("time", ["2024-01-01", "2024-01-31T12:00:00"])})
    same = [
        datetime(2024, 1, 10, 22),
        datetime(2024, 1, 11, 0, tzinfo=timezone(timedelta(hours=2))),
        datetime(2024, 1, 10, 22, tzinfo=UTC),
        "2024-01-10 22:00",
        "2024-01-10T22:00:00Z",
        np.datetime64("2024-01-10T22:00"),
    ]
    found = codec.transform_batch({"t": same})["numbers"]
    assert np.abs(found - found[0]).max() == 0
    assert np.array_equal(
        codec.transform({"t": date(2024, 1, 10)})["numbers"], codec.transform({"t": datetime(2024, 1, 10)})["numbers"]
    )
    missing = codec.transform_batch(
        {"t": [None, "soon", 17, datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))]}
    )
    assert missing["numbers"].tolist() == [[0.0] * 7 + [1.0]] * 4


def test_arrow_times() -> None:
    times = [datetime(2024, 1, 1), None, datetime(2024, 1, 3)]
    one = TableCodec.fit({"t": ("time", pa.chunked_array([pa.array(times, pa.timestamp("us"))]))})
    assert one == TableCodec.fit({"t": ("time", times)})
    assert one.columns[0].scale == pytest.approx(86_400)


def test_places_lie_on_the_sphere() -> None:
    codec = mixed()

    def xyz(value: object) -> np.ndarray:
        return codec.transform({"where": value})["numbers"][-4:]

    assert xyz((0, 0))[:3].tolist() == pytest.approx([1, 0, 0])
    assert xyz((90, 123))[:3].tolist() == pytest.approx([0, 0, 1], abs=1e-7)
    assert np.abs(xyz((10, 180)) - xyz((10, -180))).max() < 1e-6  # no jump at the date line
    assert np.array_equal(xyz("52.1, 4.3"), xyz([52.1, 4.3]))
    for bad in (None, (91, 0), (0, 181), (math.nan, 0), "here", (1, 2, 3), 7.0):
        assert xyz(bad).tolist() == [0, 0, 0, 1]


@given(
    st.lists(st.fixed_dictionaries(dict.fromkeys(("age", "colour", "when", "where"), cells)), min_size=1, max_size=8)
)
def test_any_cells_give_finite_features_and_rows_equal_batches(rows: list[dict[str, object]]) -> None:
    codec = mixed()
    batch = codec.transform_batch({name: [row[name] for row in rows] for name in rows[0]})
    assert np.isfinite(batch["numbers"]).all()
    assert (batch["categories"] >= 0).all() and (batch["categories"] < codec.sizes()["categories"][0]).all()
    for i, row in enumerate(rows):
        single = codec.transform(row)
        assert np.array_equal(single["numbers"], batch["numbers"][i])
        assert np.array_equal(single["categories"], batch["categories"][i])


@given(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False))),
    st.lists(st.one_of(st.none(), st.text(max_size=5))),
    st.lists(st.one_of(st.none(), st.datetimes())),
)
def test_the_codec_survives_json(numbers: list[object], words: list[object], times: list[object]) -> None:
    fitted = TableCodec.fit(
        {"n": ("number", numbers), "c": ("category", words), "t": ("time", times), "p": ("place", [])}
    )
    read = TableCodec.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    assert read == fitted
    rows = {"n": numbers[:1] or [None], "c": words[:1] or [None], "t": times[:1] or [None], "p": [(1, 2)]}
    for name, values in fitted.transform_batch(rows).items():
        assert np.array_equal(values, read.transform_batch(rows)[name])


def test_sizes_and_names_fit_what_comes_out() -> None:
    codec = mixed()
    found = codec.transform({})
    assert codec.sizes() == {"numbers": 2 + 8 + 4, "categories": [4]}
    assert len(found["numbers"]) == len(codec.names()) == 14
    assert found["numbers"].dtype == np.float32 and found["categories"].dtype == np.int64
    assert found["categories"].tolist() == [MISSING]
    assert codec.names()[:3] == ["age", "age missing", "when hour sin"]


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(DataError, match="column x: a table codec has no type image"):
        TableCodec.fit({"x": ("image", [])})
    for raw in ({}, {"columns": [{"kind": "number"}]}, {"columns": [{"name": "x", "type": "number", "scale": 0.0}]}):
        with pytest.raises(DataError, match="table codec"):
            TableCodec.from_dict(raw)
