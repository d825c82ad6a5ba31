"""Bootstrap intervals against scipy, and what must hold of any of them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from sensorium.evaluation.intervals import Interval, Resamples, bootstrap, paired_bootstrap
from sensorium.metrics import classification
from sensorium.metrics.statistic import mean


def test_mean_as_scipy_gives_it() -> None:
    values = np.random.default_rng(0).exponential(size=200)
    expected = stats.bootstrap((values,), np.mean, n_resamples=9999, method="percentile", rng=1).confidence_interval
    found = bootstrap(values, n_resamples=9999, seed=2)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_macro_f1_as_scipy_gives_it() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 150)
    predicted = np.where(rng.random(150) < 0.7, targets, rng.integers(0, 4, 150))

    def macro(right: np.ndarray, said: np.ndarray) -> float:
        return f1_score(right, said, average="macro", zero_division=0)

    expected = stats.bootstrap(
        (targets, predicted), macro, paired=True, vectorized=False, n_resamples=999, method="percentile", rng=1
    ).confidence_interval
    found = bootstrap(classification.statistics(targets, predicted)["f1_macro"], n_resamples=4000)
    assert found.value == pytest.approx(macro(targets, predicted))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_function_of_rows_and_sums_see_the_same_draws() -> None:
    values = np.random.default_rng(3).normal(size=30)
    clusters = np.arange(30) // 4
    by_function = bootstrap(lambda rows: values[rows].mean(), n=30, n_resamples=200, clusters=clusters)
    assert by_function.to_dict() == pytest.approx(bootstrap(values, n_resamples=200, clusters=clusters).to_dict())


def test_the_difference_of_pairs_as_scipy_gives_it() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=100)
    after = before + rng.normal(0.1, 0.3, size=100)
    expected = stats.bootstrap(
        (after - before,), np.mean, n_resamples=9999, method="percentile", rng=1
    ).confidence_interval
    found = paired_bootstrap(before, after, n_resamples=9999)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert found.p == pytest.approx(stats.ttest_rel(after, before).pvalue, abs=0.01)


@pytest.mark.parametrize("clustered", [False, True])
def test_p_is_small_only_as_often_as_it_says(clustered: bool) -> None:
    """No difference: p < 0.1 in about a tenth of all tables, clusters of equal rows or not."""
    rng = np.random.default_rng(1)
    small = []
    for _ in range(300):
        gaps = rng.normal(size=60)
        rows = np.repeat(gaps, 3) if clustered else gaps
        clusters = np.repeat(np.arange(60), 3) if clustered else None
        small.append(paired_bootstrap(np.zeros(len(rows)), rows, n_resamples=400, clusters=clusters).p < 0.1)
    assert 0.06 < np.mean(small) < 0.16


def test_intervals_hold_the_true_mean_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    held = []
    for _ in range(300):
        found = bootstrap((rng.random(100) < 0.3).astype(float), n_resamples=400)
        held.append(found.low <= 0.3 <= found.high)
    assert 0.89 < np.mean(held) < 0.985


def test_equal_rows_of_a_cluster_are_no_more_evidence() -> None:
    values = np.random.default_rng(4).normal(size=50)
    single = bootstrap(values)
    repeated, clusters = np.repeat(values, 10), np.repeat(np.arange(50), 10)
    assert bootstrap(repeated, clusters=clusters).to_dict() == pytest.approx(single.to_dict())
    naive = bootstrap(repeated)
    assert naive.high - naive.low < 0.5 * (single.high - single.low)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.integers(0, 1000))
def test_what_holds_of_every_mean(values: list[float], seed: int) -> None:
    found = bootstrap(values, n_resamples=100, seed=seed)
    assert found == bootstrap(values, n_resamples=100, seed=seed)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    same = paired_bootstrap(values, values, n_resamples=100, seed=seed)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_swapping_the_systems_mirrors_the_difference(one: list[float], other: list[float]) -> None:
    n = min(len(one), len(other))
    there, back = (paired_bootstrap(a[:n], b[:n], n_resamples=100) for a, b in ((one, other), (other, one)))
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert back.p == there.p


def test_labels_of_clusters_do_not_matter() -> None:
    values = np.random.default_rng(5).normal(size=40)
    numbers = np.arange(40) // 3
    names = [f"concept {97 - n}" for n in numbers]
    assert bootstrap(values, clusters=numbers) == bootstrap(values, clusters=names)


def test_one_row_has_no_width() -> None:
    assert bootstrap([0.5]) == Interval(0.5, 0.5, 0.5)


def test_draws_that_are_not_kept_are_the_same_again() -> None:
    kept, fresh = Resamples(50, n_resamples=20, seed=1), Resamples(50, n_resamples=20, seed=1)
    rows = mean(np.arange(50.0)).rows
    kept.sums(rows)
    assert np.array_equal(kept.sums(rows), fresh.sums(rows))


def test_a_thousand_resamples_of_five_thousand_rows_are_quick() -> None:
    began = time.perf_counter()
    bootstrap(np.random.default_rng(0).random(5000))
    assert time.perf_counter() - began < 5  # 0.1 s on an idle core


def test_refuses() -> None:
    with pytest.raises(ValueError, match="no rows"):
        bootstrap([])
    with pytest.raises(ValueError, match="not pairs"):
        paired_bootstrap([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="cluster labels"):
        bootstrap([1.0, 2.0], clusters=[0])
