"""``metrics.json`` of a ranking: shape, pairing by user, groups, and openness about a lost comparison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sensorium.errors import DataError
from sensorium.evaluation.ranking_report import summary
from sensorium.evaluation.ranking_table import RankingMeasured, activity, best_baseline, ranking_metrics
from sensorium.evaluation.schema import validated
from sensorium.evaluation.verdict import verdict

CASES, ITEMS = 120, 40


def measured(**ranks):
    draw = np.random.default_rng(0)
    top = {name: np.array([draw.permutation(ITEMS)[:20] for _ in range(CASES)]) for name in ranks}
    return RankingMeasured(
        ranks={name: np.asarray(value) for name, value in ranks.items()},
        top=top,
        users=np.arange(CASES),
        targets=draw.integers(0, ITEMS, CASES),
        popularity=draw.integers(0, 30, ITEMS),
        groups={"gender": ["F", "M", None] * (CASES // 3)},
        content=draw.normal(size=(ITEMS, 4)),
    )


@pytest.fixture(scope="module")
def lost():
    draw = np.random.default_rng(1)
    ours = draw.integers(1, ITEMS, CASES)
    cases = measured(after=ours, most_popular=draw.integers(1, ITEMS, CASES), neighbours=np.maximum(ours - 6, 1))
    return cases, ranking_metrics(cases, seed=3, n_resamples=200)


def test_it_fits_the_schema_and_has_every_measure(lost):
    cases, metrics = lost
    assert validated(metrics) is metrics
    assert {f"{name}@{k}" for name in ("hit_rate", "ndcg", "mrr", "recall") for k in (5, 10, 20)} | {
        "coverage", "diversity", "novelty", "gini", "average_popularity"
    } == set(metrics["after"])  # fmt: skip
    assert metrics["after"]["hit_rate@10"]["value"] == pytest.approx(np.mean(cases.ranks["after"] <= 10))
    assert all(part["low"] <= part["value"] <= part["high"] for part in metrics["after"].values())
    assert metrics["by"]["gender"]["F"]["rows"] == CASES // 3
    assert "gini" in metrics["by"]["gender"]["(missing)"]["baselines"]["neighbours"]


def test_a_baseline_that_wins_is_named_first(lost):
    _, metrics = lost
    assert best_baseline(metrics) == "neighbours"
    assert metrics["against"]["neighbours"]["ndcg@10"]["value"] < 0
    assert verdict(metrics)[0].startswith("Loses to the neighbours baseline in NDCG@10")
    said = summary(metrics)
    assert "Loses to the neighbours baseline" in said
    assert max(map(len, said.splitlines())) <= 80


def test_intervals_draw_users_and_not_cases():
    ranks = np.repeat(np.array([1, 30] * 10), CASES // 20)  # six cases of a user are alike
    cases = measured(after=ranks)
    apart = ranking_metrics(cases, n_resamples=300)["after"]["hit_rate@10"]
    together = ranking_metrics(replace(cases, users=np.repeat(np.arange(20), CASES // 20)), n_resamples=300)
    wide = together["after"]["hit_rate@10"]
    assert wide["value"] == apart["value"]
    assert wide["high"] - wide["low"] > 1.8 * (apart["high"] - apart["low"])
    assert any("Only 20 users" in note for note in together["notes"])


def test_intervals_of_coverage_hold_their_value():
    cases = measured(after=np.ones(CASES, dtype=int))
    found = ranking_metrics(replace(cases, popularity=np.ones(4000, dtype=int), content=None))["after"]
    assert "diversity" not in found
    assert found["coverage"]["low"] <= found["coverage"]["value"] == ITEMS / 4000 <= found["coverage"]["high"]


def test_columns_of_different_lengths_are_refused():
    cases = measured(after=np.ones(CASES, dtype=int))
    with pytest.raises(DataError, match="ranks of knn: 3 for 120 cases"):
        ranking_metrics(replace(cases, ranks={**cases.ranks, "knn": np.ones(3, dtype=int)}))


def test_activity_parts_the_cases_in_three_and_says_where():
    labels = activity(np.arange(1, 10))
    assert sorted(set(labels)) == ["little: 1–3", "medium: 4–6", "much: 7–9"]
    assert activity(np.full(5, 2)) == ["part 1: 2–2"] * 5
