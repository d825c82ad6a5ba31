"""Answers kept between sittings come back as they were; groups, tables and metrics follow from them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.jobs.measure import (
    MOST_VALUES,
    baselines,
    groups_of,
    keep_answers,
    measure,
    metrics_of,
    prediction_table,
    predictions_of,
    read_answers,
)
from sensorium.jobs.prepare import Prepared, prepare
from sensorium.recipe import Recipe
from sensorium.tasks.answers import Answers
from sensorium.training.progress import make_progress


def prepared_of(folder: Path, lines: str, target: str = "y", **data: Any) -> tuple[Recipe, Prepared]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "t.csv").write_text(lines, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(folder / "cache"))
        recipe = Recipe.parse({"data": {"source": str(folder / "t.csv"), "target": target, **data}})
        return recipe, prepare(recipe, make_progress(quiet=True))


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Prepared]:
    lines = [f"{i % 3 + 0.1 * (i % 7)},{'north' if i % 2 else 'south'},many {i},{'abc'[i % 3]}" for i in range(90)]
    inputs = {"size": "number", "shop": "category", "words": "text"}
    return prepared_of(
        tmp_path_factory.mktemp("classes"), "size,shop,words,y\n" + "\n".join(lines) + "\n", inputs=inputs
    )


def answers_of(prepared: Prepared, rows: list[int], right: float = 1.0) -> Answers:
    names = prepared.schema.classes or []
    targets = [prepared.rows[row].target for row in rows]
    rng = np.random.default_rng(0)
    said = [t if rng.random() < right else names[(names.index(t) + 1) % len(names)] for t in targets]
    shares = np.full((len(rows), len(names)), 0.1)
    shares[np.arange(len(rows)), [names.index(s) for s in said]] = 1 - 0.1 * (len(names) - 1)
    logs = np.log(shares[np.arange(len(rows)), [names.index(t) for t in targets]])
    return Answers(np.array(rows), targets, said, shares, shares.max(1), logs, np.ones(len(rows), dtype=np.int64))


# -- kept between sittings -------------------------------------------------------------------------

values = st.one_of(st.none(), st.text(max_size=8), st.floats(-1e9, 1e9), st.integers(-5, 5))


@settings(max_examples=40)
@given(st.lists(st.tuples(values, values, st.floats(0, 1) | st.just(float("nan")))), st.integers(0, 4))
def test_kept_answers_come_back_as_they_were(tmp_path_factory: Any, given_: list, width: int) -> None:
    count = len(given_)
    shares = np.random.default_rng(0).random((count, width)).astype(np.float32) if width else None
    answers = Answers(
        np.arange(count) * 3,
        [t for t, _, _ in given_],
        [p for _, p, _ in given_],
        shares,
        np.array([c for _, _, c in given_], dtype=np.float64),
        np.array([-c for _, _, c in given_], dtype=np.float64),
        np.arange(count),
    )
    path = tmp_path_factory.mktemp("kept") / "answers.parquet"
    keep_answers(path, answers, 1.5)
    again, seconds = read_answers(path)
    assert seconds == 1.5 and again.rows.tolist() == answers.rows.tolist()
    assert again.targets == answers.targets and again.predictions == answers.predictions
    for name in ("confidence", "likelihoods", "tokens"):
        np.testing.assert_array_equal(getattr(again, name), getattr(answers, name))
    assert (again.probabilities is None) == (shares is None or not count)
    if shares is not None and count:
        np.testing.assert_array_equal(again.probabilities, shares)


# -- what follows from answers ---------------------------------------------------------------------


def test_groups_are_columns_with_few_values(classes: tuple[Recipe, Prepared]) -> None:
    _, prepared = classes
    rows = np.arange(60)
    assert groups_of(prepared, rows) == {"shop": ["north" if i % 2 else "south" for i in range(60)]}
    few = groups_of(prepared, np.arange(MOST_VALUES))
    assert sorted(few) == ["shop", "words"]
    assert groups_of(prepared, np.array([0])) == {}  # one value parts nothing


def test_metrics_are_those_of_the_answers(classes: tuple[Recipe, Prepared]) -> None:
    _, prepared = classes
    rows = prepared.splits.test.tolist()
    answers = answers_of(prepared, rows, right=0.6)
    share = np.mean([p == t for p, t in zip(answers.predictions, answers.targets, strict=True)])
    assert measure(prepared, answers)["accuracy"] == pytest.approx(share)
    assert measure(prepared, answers_of(prepared, rows))["accuracy"] == 1.0
    told = predictions_of(prepared, answers)
    assert told.kind == "category" and list(told.rows) == rows and list(told.groups) == ["shop"]


def test_before_and_after_stand_beside_simpler_methods(classes: tuple[Recipe, Prepared]) -> None:
    recipe, prepared = classes
    rows = prepared.splits.test.tolist()
    before, after = answers_of(prepared, rows, right=0.3), answers_of(prepared, rows)
    found = metrics_of(prepared, recipe, before, after, {}, prepared.splits.validation)
    assert found["after"]["accuracy"]["value"] == 1.0 and found["rows"] == len(rows)
    gain = found["after"]["accuracy"]["value"] - found["before"]["accuracy"]["value"]
    assert found["difference"]["accuracy"]["value"] == pytest.approx(gain)
    assert "majority" in found["baselines"] and found["baselines"]["majority"]["accuracy"]["value"] < 0.7
    assert set(found["by"]) == {"shop"} and set(found["by"]["shop"]) == {"north", "south"}


def test_baselines_read_features_numbers_and_live_with_missing_ones(classes: tuple[Recipe, Prepared]) -> None:
    _, prepared = classes
    answers = predictions_of(prepared, answers_of(prepared, prepared.splits.test.tolist()))

    def feature(row: int) -> torch.Tensor | None:
        if row % 10 == 0:
            return None
        return torch.nn.functional.one_hot(torch.tensor([row % 3, 0]), 3).float()  # the class itself, then another

    found, _ = baselines(prepared, {"picture": feature}, prepared.splits.validation, answers)
    assert {"majority", "linear_probe"} <= set(found)
    probe = found["linear_probe"]
    right = [p == t for p, t in zip(probe.predictions, probe.targets, strict=True)]
    assert np.mean(right) > 0.9


# -- the table of predictions ----------------------------------------------------------------------


def read(table: bytes) -> list[dict[str, Any]]:
    return pyarrow.parquet.read_table(io.BytesIO(table)).to_pylist()


def test_the_table_pairs_rows_by_their_numbers(classes: tuple[Recipe, Prepared]) -> None:
    _, prepared = classes
    before, after = answers_of(prepared, [9, 4, 7], right=0.0), answers_of(prepared, [4, 5, 9])
    told = read(prediction_table(prepared, before, after))
    assert [line["row"] for line in told] == [4, 5, 9]
    assert [line["place"] for line in told] == [prepared.source.place(i) for i in (4, 5, 9)]
    assert [line["before"] for line in told] == [before.predictions[1], None, before.predictions[0]]
    assert [line["after"] for line in told] == [line["target"] for line in told]
    assert told[1]["probability_before"] is None and told[0]["probability_after"] == pytest.approx(0.8)
    assert told[0]["log_likelihood_before"] == pytest.approx(np.log(0.1))
    assert all(line["before"] is None for line in read(prediction_table(prepared, None, after)))


def test_unknown_likelihoods_are_empty_cells(classes: tuple[Recipe, Prepared]) -> None:
    _, prepared = classes
    after = answers_of(prepared, [0, 1])
    after.likelihoods = np.array([np.nan, -1.0])
    after.targets = [None, after.targets[1]]
    told = read(prediction_table(prepared, None, after))
    assert [line["log_likelihood_after"] for line in told] == [None, -1.0] and told[0]["target"] is None


def test_numbers_are_measured_as_numbers(tmp_path: Path) -> None:
    lines = "".join(f"{i % 9},{2.5 * (i % 9) + 0.25}\n" for i in range(60))
    _, prepared = prepared_of(tmp_path, "x,y\n" + lines, inputs={"x": "number", "y": "number"})
    rows = prepared.splits.test
    targets, nan = [prepared.rows[int(row)].target for row in rows], np.full(len(rows), np.nan)
    answers = Answers(rows, targets, [t + 2 for t in targets], None, nan, nan, np.ones(len(rows), dtype=np.int64))
    assert measure(prepared, answers)["mae"] == pytest.approx(2.0)
