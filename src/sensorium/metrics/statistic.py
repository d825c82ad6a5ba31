"""A metric as a function of sums over rows.

Means, ratios, balanced accuracy, macro F1, calibration error, R² and corpus chrF are all ``combine(sum of a vector
per row)``. Kept in that form, a thousand bootstrap resamples are one matrix product, and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Statistic:
    """``value = combine(rows.sum(0))``.

    Args:
        rows: (n, k) float64, what each row adds.
        combine: (…, k) sums -> (…) values, finite for every sum that a choice of rows can give.
    """

    rows: np.ndarray
    combine: Callable[[np.ndarray], np.ndarray]

    @property
    def value(self) -> float:
        """The metric on all rows."""
        return float(self.combine(self.rows.sum(0)))


@dataclass(frozen=True)
class Counted:
    """A metric that is no function of sums: one of all lists together, such as how many items they show.

    Args:
        n: rows.
        of: (n,) how often each row counts -> the value.
    """

    n: int
    of: Callable[[np.ndarray], float]

    @property
    def value(self) -> float:
        """The metric on all rows."""
        return float(self.of(np.ones(self.n)))


def mean(values: ArrayLike) -> Statistic:
    """The mean of ``values`` (n,)."""
    values = np.asarray(values, dtype=np.float64)
    return ratio(values, np.ones_like(values))


def ratio(over: ArrayLike, under: ArrayLike, empty: float = 0.0) -> Statistic:
    """Sum of ``over`` by sum of ``under``, both (n,); ``empty`` where the latter is 0."""
    rows = np.stack([np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)], axis=1)
    return Statistic(rows, lambda sums: divide(sums[..., 0], sums[..., 1], empty))


def divide(over: np.ndarray, under: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """``over / under`` elementwise, ``empty`` where ``under`` is 0."""
    over, under = np.broadcast_arrays(np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64))
    return np.divide(over, under, out=np.full(over.shape, float(empty)), where=under != 0)


def values(statistics: Mapping[str, Statistic | Counted]) -> dict[str, float]:
    """The value of each."""
    return {name: statistic.value for name, statistic in statistics.items()}


def same_length(**columns: Sequence | np.ndarray | None) -> int:
    """The common length of the columns given.

    Raises:
        ValueError: they differ, or there are no rows: a metric of nothing is nothing.
    """
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"columns differ in length: {lengths}")
    length = next(iter(lengths.values()))
    if length == 0:
        raise ValueError("no rows to measure")
    return length
