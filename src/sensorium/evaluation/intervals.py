"""95 % bootstrap intervals, and paired tests on the same resamples.

Percentile bootstrap (Efron & Tibshirani 1993). With ``clusters``, whole clusters are drawn, since rows about one
concept are not independent. Everything follows from the seed; the same seed and the same number of units give the same
draws, so that two systems on the same rows are always compared resample by resample.

A percentile interval is too narrow on few units, and has no width where all rows agree: callers say so beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from sensorium.metrics.statistic import Counted, Statistic, mean

_BLOCK = 4_000_000  # draws at a time: 32 MB
_KEPT = 12_000_000  # counts kept between statistics: 96 MB


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Difference(Interval):
    """After minus before, its 95 % interval, and a two-sided p of no difference."""

    p: float


class Resamples:
    """Bootstrap draws of n rows, or of the clusters that they belong to.

    Args:
        n: rows.
        n_resamples: draws; the smallest p is 2 / (n_resamples + 1).
        seed: of the draws.
        clusters: (n,) labels of any type; rows that share one are drawn together.
    """

    def __init__(
        self, n: int, *, n_resamples: int = 1000, seed: int = 0, clusters: Sequence | np.ndarray | None = None
    ) -> None:
        if n < 1:
            raise ValueError("no rows to resample")
        if clusters is not None and len(clusters) != n:
            raise ValueError(f"{len(clusters)} cluster labels for {n} rows")
        self.n, self.n_resamples, self.seed = n, n_resamples, seed
        # Numbered by first appearance in row order, so that the draws do not depend on how labels sort.
        numbers: dict[object, int] = {}
        self.unit_of = (
            np.arange(n)
            if clusters is None
            else np.array([numbers.setdefault(label, len(numbers)) for label in np.asarray(clusters).tolist()])
        )
        self.units = n if clusters is None else len(numbers)
        self._kept: list[np.ndarray] | None = None

    def counts(self) -> Iterator[np.ndarray]:
        """Blocks (resamples, units) float64: how often each unit is drawn."""
        if self._kept is not None:
            yield from self._kept
            return
        keep: list[np.ndarray] | None = [] if self.n_resamples * self.units <= _KEPT else None
        draw = np.random.default_rng(self.seed)
        size = max(1, _BLOCK // self.units)
        for start in range(0, self.n_resamples, size):
            height = min(size, self.n_resamples - start)
            drawn = draw.integers(0, self.units, size=(height, self.units))
            drawn += np.arange(height)[:, None] * self.units
            block = np.bincount(drawn.ravel(), minlength=height * self.units).reshape(height, -1).astype(np.float64)
            if keep is not None:
                keep.append(block)
            yield block
        self._kept = keep

    def indices(self) -> Iterator[np.ndarray]:
        """The row numbers of each resample, in order."""
        members = np.argsort(self.unit_of, kind="stable")
        starts = np.searchsorted(self.unit_of[members], np.arange(self.units + 1))
        for block in self.counts():
            for counts in block.astype(np.int64):
                drawn = np.repeat(np.arange(self.units), counts)
                yield np.concatenate([members[starts[u] : starts[u + 1]] for u in drawn])

    def sums(self, rows: np.ndarray) -> np.ndarray:
        """(n_resamples, k): the sum of ``rows`` (n, k) over each resample."""
        if self.units != self.n:
            summed = np.zeros((self.units, rows.shape[1]))
            np.add.at(summed, self.unit_of, rows)
            rows = summed
        return np.concatenate([counts @ rows for counts in self.counts()])

    def values(self, statistics: Mapping[str, Statistic | Counted]) -> dict[str, np.ndarray]:
        """(n_resamples,) values of each statistic; sums that several share are made once."""
        sums: dict[int, np.ndarray] = {}
        found: dict[str, np.ndarray] = {}
        for name, statistic in statistics.items():
            if isinstance(statistic, Counted):
                found[name] = self._counted(statistic)
                continue
            if id(statistic.rows) not in sums:
                sums[id(statistic.rows)] = self.sums(statistic.rows)
            found[name] = statistic.combine(sums[id(statistic.rows)])
        return found

    def _counted(self, statistic: Counted) -> np.ndarray:
        """Values of each resample, moved so that their mean is the value: fewer distinct rows show fewer items."""
        drawn = np.array([statistic.of(counts[self.unit_of]) for block in self.counts() for counts in block])
        return drawn + statistic.value - drawn.mean()


def bootstrap(
    statistic: Statistic | ArrayLike | Callable[[np.ndarray], float],
    *,
    n: int | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    clusters: Sequence | np.ndarray | None = None,
) -> Interval:
    """The value on all rows, and its interval.

    Args:
        statistic: a Statistic, or (n,) values whose mean is meant, or a function of row numbers (slow: it is called
            once a resample, and needs ``n``).
        n: rows, for a function.
        n_resamples, seed, clusters: as of ``Resamples``.
    """
    if callable(statistic):
        if n is None:
            raise ValueError("a function of row numbers needs n")
        draws = Resamples(n, n_resamples=n_resamples, seed=seed, clusters=clusters)
        return interval(float(statistic(np.arange(n))), np.array([statistic(rows) for rows in draws.indices()]))
    statistic = _statistic(statistic)
    draws = Resamples(len(statistic.rows), n_resamples=n_resamples, seed=seed, clusters=clusters)
    return interval(statistic.value, draws.values({"": statistic})[""])


def paired_bootstrap(
    before: Statistic | ArrayLike,
    after: Statistic | ArrayLike,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    clusters: Sequence | np.ndarray | None = None,
) -> Difference:
    """After minus before on the same rows, drawn together; arguments as of ``bootstrap``."""
    before, after = _statistic(before), _statistic(after)
    if len(before.rows) != len(after.rows):
        raise ValueError(f"{len(before.rows)} rows before and {len(after.rows)} after are not pairs")
    draws = Resamples(len(before.rows), n_resamples=n_resamples, seed=seed, clusters=clusters)
    return difference(before.value, after.value, draws.values({"": before})[""], draws.values({"": after})[""])


def interval(value: float, resampled: np.ndarray) -> Interval:
    """The 2.5th and 97.5th percentile of ``resampled`` (n_resamples,) around ``value``."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def difference(before: float, after: float, resampled_before: np.ndarray, resampled_after: np.ndarray) -> Difference:
    """After minus before, from values of the same resamples, both (n_resamples,).

    p = 2 · min(P(d ≤ 0), P(d ≥ 0)) over resampled differences d, each share counted with one more resample on either
    side, at most 1: it is small when nearly all resamples lie on one side of no difference.
    """
    gaps = resampled_after - resampled_before
    tiny = 1e-12 * max(1.0, float(np.abs(resampled_after).max()))  # rounding is no difference
    at_most, at_least = ((gaps <= tiny).sum() + 1, (gaps >= -tiny).sum() + 1)
    p = min(1.0, 2 * min(at_most, at_least) / (len(gaps) + 1))
    around = interval(after - before, gaps)
    return Difference(around.value, around.low, around.high, float(p))


def _statistic(values: Statistic | ArrayLike) -> Statistic:
    return values if isinstance(values, Statistic) else mean(values)
