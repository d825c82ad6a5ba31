"""MAE, RMSE and R² against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from sensorium.metrics.regression import scores, summary

number = st.integers(-(10**4), 10**4).map(lambda n: n / 64)


@given(st.lists(st.tuples(number, number), min_size=2, max_size=40), st.sampled_from([0.0, 1e5]))
def test_equal_to_scikit_learn(pairs: list[tuple[float, float]], shift: float) -> None:
    targets, predictions = np.array(pairs).T + shift
    found = summary(targets, predictions)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(targets, predictions))
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(targets, predictions))
    assert found["r2"] == pytest.approx(reference.r2_score(targets, predictions), rel=1e-6, abs=1e-6)


def test_constant_targets_are_no_division_by_zero() -> None:
    assert summary([3.0, 3.0], [3.0, 3.0]) == {"mae": 0.0, "rmse": 0.0, "r2": 1.0}
    assert summary([3.0, 3.0], [3.0, 4.0])["r2"] == 0.0
    assert summary([3.0], [4.0])["r2"] == 0.0


def test_scores_by_row() -> None:
    found = scores([1.0, 2.0], [3.0, 1.0])
    assert found["absolute_error"].tolist() == [2.0, 1.0]
    assert found["squared_error"].tolist() == [4.0, 1.0]


def test_refuses_what_is_not_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        summary([1.0, 2.0], [1.0, float("nan")])
