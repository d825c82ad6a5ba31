"""``metrics.json``: what it holds, what it does not depend on, and what it says of hard cases."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from sensorium.errors import DataError, RunError
from sensorium.evaluation.comparison import compare
from sensorium.evaluation.predictions import Predictions
from sensorium.evaluation.schema import validated
from sensorium.evaluation.summary import spread, summarise
from sensorium.evaluation.verdict import findings, verdict

CLASSES = ["cat", "dog", "fox"]


def category(seed: int, skill: float, n: int = 200, **columns: object) -> Predictions:
    """Answers of a classifier that is right the more often the larger ``skill``; the targets are always the same."""
    truth = np.random.default_rng(99).integers(0, 3, n)
    logits = np.random.default_rng(seed).normal(size=(n, 3)) + skill * np.eye(3)[truth]
    table = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = np.array(CLASSES, dtype=object)
    return Predictions(
        rows=np.arange(n) + 1000, targets=list(names[truth]), predictions=list(names[table.argmax(1)]), kind="category",
        probabilities=table, classes=CLASSES, **columns,  # type: ignore[arg-type]
    )  # fmt: skip


def texts(said: list[str], right: list[str], **columns: object) -> Predictions:
    return Predictions(np.arange(len(said)), right, said, "text", **columns)  # type: ignore[arg-type]


def test_holds_what_the_design_says_and_fits_its_schema() -> None:
    sides = ["left" if i % 2 else "right" for i in range(200)]
    before, after = (category(seed, skill, groups={"side": sides}) for seed, skill in ((1, 0.0), (2, 3.0)))
    weak = replace(after, predictions=["cat"] * 200, probabilities=None)
    found = validated(
        json.loads(json.dumps(compare(before, after, {"majority": weak}, task="classify", seed=3), allow_nan=False))
    )
    assert found["split"] == "test" and found["rows"] == 200 and found["seed"] == 3 and found["task"] == "classify"
    assert found["after"]["accuracy"]["value"] == accuracy_score(after.targets, after.predictions)
    assert found["before"]["balanced_accuracy"]["value"] == pytest.approx(
        balanced_accuracy_score(before.targets, before.predictions)
    )
    gap = found["difference"]["accuracy"]
    assert gap["value"] == pytest.approx(found["after"]["accuracy"]["value"] - found["before"]["accuracy"]["value"])
    assert gap["low"] > 0 and gap["p"] < 0.01
    assert "calibration_error" not in found["baselines"]["majority"] and "calibration_error" in found["after"]
    left = found["by"]["side"]["left"]
    positions = [i for i, side in enumerate(sides) if side == "left"]
    right = [after.targets[i] == after.predictions[i] for i in positions]
    assert left["rows"] == 100 and left["after"]["accuracy"]["value"] == np.mean(right)
    assert set(found["per_class"]) == {"before", "after"} and set(found["per_class"]["after"]) == set(CLASSES)


def test_the_order_of_rows_changes_nothing() -> None:
    before, after = category(1, 0.5), category(2, 1.0)
    shuffled = after.take(np.random.default_rng(0).permutation(200))
    assert compare(before, shuffled, task="classify") == compare(before, after, task="classify")


def test_the_same_answers_are_no_difference() -> None:
    found = compare(category(1, 1.0), category(1, 1.0), task="classify")
    assert all(gap == {"value": 0, "low": 0, "high": 0, "p": 1} for gap in found["difference"].values())
    assert verdict(found)[0].startswith("No significant change in accuracy")


def test_clusters_widen_intervals() -> None:
    base_before, base_after = category(1, 0.0, n=40), category(2, 1.0, n=40)
    repeat = np.repeat(np.arange(40), 5)

    def repeated(p: Predictions) -> Predictions:
        targets, said = ([column[i] for i in repeat] for column in (p.targets, p.predictions))
        return Predictions(np.arange(200), targets, said, "category", p.probabilities[repeat], CLASSES)  # type: ignore[index]

    before, after = (repeated(p) for p in (base_before, base_after))
    single = compare(base_before, base_after, task="classify")["difference"]["accuracy"]
    clustered = compare(before, replace(after, clusters=repeat), task="classify", cluster_name="concept")
    gap = clustered["difference"]["accuracy"]
    assert (gap["low"], gap["high"]) == pytest.approx((single["low"], single["high"]))
    assert "40 clusters of rows with equal concept" in clustered["notes"][-1]


def test_different_rows_are_no_comparison() -> None:
    after = category(2, 1.0)
    with pytest.raises(DataError, match="different rows"):
        compare(category(1, 0.0).take(np.arange(50)), after, task="classify")
    with pytest.raises(DataError, match="disagree about the right answers"):
        compare(replace(after, targets=["cat"] * 200), after, task="classify")


def test_unlabelled_rows_are_left_out_and_said() -> None:
    after = texts(["a", "b", "c"], ["a", None, "x"])  # type: ignore[list-item]
    found = compare(None, after, task="generate")
    assert found["rows"] == 2 and found["after"]["exact_match"]["value"] == 0.5
    assert "before" not in found and "difference" not in found
    assert any("1 rows without a known answer" in note for note in found["notes"])
    assert any("Only 2 rows" in note for note in found["notes"])
    with pytest.raises(DataError, match="no rows with a known answer"):
        compare(None, texts(["a"], [None]), task="generate")  # type: ignore[list-item]


def test_a_class_that_the_model_does_not_know() -> None:
    after = category(1, 3.0)
    found = compare(None, replace(after, targets=["wolf", *after.targets[1:]]), task="classify")
    assert any("1 rows are of a class that the model does not know" in note for note in found["notes"])
    validated(found)


def test_a_baseline_that_answers_some_questions_is_given_for_those() -> None:
    questions = ["what?"] * 4 + ["which?"] * 4
    after = texts(list("abcdefgh"), list("abcdefgx"), groups={"question": questions})
    probe = replace(after, predictions=[None] * 4 + list("efgx"))
    found = validated(compare(None, after, {"linear_probe": probe}, task="generate"))
    assert found["baselines"] == {}
    assert found["by"]["question"]["which?"]["baselines"]["linear_probe"]["exact_match"]["value"] == 1
    assert found["by"]["question"]["what?"]["baselines"] == {}
    assert any("linear_probe answers some rows only" in note for note in found["notes"])
    assert any("which?" in line and "baseline" in line for line in verdict(found))


def test_numbers_and_their_defects() -> None:
    rows = np.arange(4)
    before = Predictions(rows, [1.0, 2.0, 3.0, 4.0], [2.5] * 4, "number")
    after = replace(before, predictions=[1.0, 2.0, 3.0, 4.5])
    found = validated(compare(before, after, task="classify"))
    assert found["primary"] == "mae" and found["difference"]["mae"]["value"] < 0
    assert findings(found)[0].tone in ("better", "same")
    with pytest.raises(DataError, match="row 2: target or prediction is not a finite"):
        compare(None, replace(after, predictions=[1.0, 2.0, float("inf"), 4.0]), task="classify")


def test_likelihoods_that_some_rows_lack() -> None:
    after = texts(["a", "b"], ["a", "b"], likelihoods=np.array([-1.0, np.nan]), tokens=np.array([2, 0]))
    found = compare(None, after, task="generate")
    assert found["after"]["log_likelihood"]["value"] == -0.5
    assert any("known for 1 of 2 rows" in note for note in found["notes"])


def test_integers_that_a_gap_turned_into_floats_are_the_same_classes() -> None:
    found = Predictions(np.arange(3), [1.0, 2, "3"], ["1", "2", "3"], "category", classes=["1", "2", "3"])
    assert found.right().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"after": {"beauty": {"value": 1, "low": 1, "high": 1}}}, "unknown metric beauty"),
        ({"extra": 1}, "extra"),
        ({"after": {"accuracy": {"value": 1, "low": 2, "high": 1}}}, "low 2.0 lies above high 1.0"),
        ({"after": {"accuracy": {"value": float("nan"), "low": 0, "high": 1}}}, "finite"),
        ({"rows": 0}, "rows"),
    ],
)
def test_the_schema_refuses(change: dict, said: str) -> None:
    found = compare(None, category(1, 1.0), task="classify")
    with pytest.raises(RunError, match=said):
        validated(found | change)


def test_columns_of_other_lengths_and_repeated_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        Predictions(np.arange(2), ["a"], ["a", "b"], "text")
    with pytest.raises(ValueError, match="occurs twice"):
        Predictions(np.zeros(2, dtype=int), ["a", "b"], ["a", "b"], "text")
    with pytest.raises(ValueError, match="needs its classes"):
        Predictions(np.arange(1), ["a"], ["a"], "category")


# -- verdicts --------------------------------------------------------------------------------------


def test_a_verdict_names_what_training_lost_to() -> None:
    weak, strong = category(1, 0.5), category(2, 4.0)
    found = compare(category(3, 0.4), weak, {"linear_probe": strong}, task="classify")
    assert any(line.startswith("Loses to the linear probe baseline in accuracy") for line in verdict(found))
    worse = compare(strong, weak, task="classify")
    assert findings(worse)[0].tone == "worse" and verdict(worse)[0].startswith("Worse than before in accuracy")
    better = compare(weak, strong, {"majority": weak}, task="classify")
    assert [f.tone for f in findings(better)][:2] == ["better", "better"]
    assert "Ahead of majority" in verdict(better)[1]


# -- several seeds ---------------------------------------------------------------------------------


def test_summary_of_seeds() -> None:
    before = category(0, 0.0)
    runs = [
        compare(before, category(seed, 1.0), {"majority": before}, task="classify", seed=seed) for seed in (1, 2, 3)
    ]
    found = summarise(runs)
    values = [run["after"]["accuracy"]["value"] for run in runs]
    assert found["seeds"] == [1, 2, 3]
    assert found["after"]["accuracy"]["values"] == values
    assert found["after"]["accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert found["baselines"]["majority"]["accuracy"]["sd"] == pytest.approx(0)
    json.dumps(found, allow_nan=False)


def test_t_interval_as_scipy_gives_it() -> None:
    from scipy import stats

    values = [0.71, 0.75, 0.78]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    found = spread(values)
    assert (found["low"], found["high"], found["sd"]) == pytest.approx((low, high, np.std(values, ddof=1)))
    assert spread([0.5]) == {"mean": 0.5, "sd": None, "low": None, "high": None, "values": [0.5]}
