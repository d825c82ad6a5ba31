"""Mean absolute error, root mean squared error and R² of predicted numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sensorium.metrics.statistic import Statistic, divide, mean, same_length, values


def summary(targets: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """Every metric of this file; both arguments (n,), in the target's unit."""
    return values(statistics(targets, predictions))


def scores(targets: ArrayLike, predictions: ArrayLike) -> dict[str, np.ndarray]:
    """Per row (n,): ``absolute_error`` and ``squared_error``."""
    error = np.asarray(predictions, dtype=np.float64) - np.asarray(targets, dtype=np.float64)
    return {"absolute_error": np.abs(error), "squared_error": error**2}


def statistics(targets: ArrayLike, predictions: ArrayLike) -> dict[str, Statistic]:
    """Every metric as a statistic over rows.

    R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)²; where all targets are equal it is 1 if all answers are right and 0 otherwise,
    as in scikit-learn.

    Raises:
        ValueError: no rows, lengths that differ, or a value that is not finite.
    """
    targets, predictions = np.asarray(targets, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    same_length(targets=targets, predictions=predictions)
    if not (np.isfinite(targets).all() and np.isfinite(predictions).all()):
        raise ValueError("targets and predictions must be finite numbers")
    found = scores(targets, predictions)
    squared = mean(found["squared_error"])
    # Centred and scaled, so that Σy² − (Σy)²/n loses no digits; R² does not change by either.
    spread = np.abs(targets - targets.mean()).max() or 1.0
    centred = (targets - targets.mean()) / spread
    explained = np.stack([found["squared_error"] / spread**2, centred**2, centred, np.ones_like(centred)], axis=1)
    return {
        "mae": mean(found["absolute_error"]),
        "rmse": Statistic(squared.rows, lambda sums: np.sqrt(squared.combine(sums))),
        "r2": Statistic(explained, _r2),
    }


def _r2(sums: np.ndarray) -> np.ndarray:
    residual, square, total, count = np.moveaxis(sums, -1, 0)
    variation = square - divide(total**2, count)
    constant = variation <= 1e-12 * np.maximum(count, 1)  # of a spread of 1: rounding, not variation
    return np.where(
        constant, (residual == 0).astype(np.float64), 1 - divide(residual, np.where(constant, 1.0, variation))
    )
