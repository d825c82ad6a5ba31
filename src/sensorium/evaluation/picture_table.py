"""``metrics.json`` of tokenize and draw runs: pictures rebuilt from their codes, and pictures and names foretold.

The shape is that of every other task (``comparison``). A unit is a picture; where pictures are of concepts, those of one
concept are drawn together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import DataError
from sensorium.evaluation.comparison import FEW, by_group, measured
from sensorium.metrics import drawing
from sensorium.metrics.names import PRIMARY
from sensorium.metrics.pictures import statistics
from sensorium.metrics.statistic import Counted, Statistic


@dataclass(frozen=True)
class Rebuilt:
    """What one system made of n pictures.

    Attributes:
        columns: metric -> (n,). codes: (n, places), where it has some. codebook: how many codes there are.
    """

    columns: Mapping[str, np.ndarray]
    codes: np.ndarray | None = None
    codebook: int = 0
    clusters: Any = None
    groups: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, positions: np.ndarray) -> Rebuilt:
        return Rebuilt(
            {name: column[positions] for name, column in self.columns.items()},
            None if self.codes is None else self.codes[positions],
            self.codebook,
            None if self.clusters is None else np.asarray(self.clusters)[positions],
        )

    def answers_all(self) -> bool:
        return True

    def statistics(self) -> dict[str, Statistic | Counted]:
        return statistics(self.columns, self.codes, self.codebook)


@dataclass(frozen=True)
class Foretold:
    """How likely one system found n rows' pictures and names; see ``metrics.drawing``."""

    columns: Mapping[str, np.ndarray]
    names: Sequence[str]
    clusters: Any = None
    groups: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, positions: np.ndarray) -> Foretold:
        return Foretold(
            {name: column[positions] for name, column in self.columns.items()},
            [self.names[place] for place in positions],
            None if self.clusters is None else np.asarray(self.clusters)[positions],
        )

    def answers_all(self) -> bool:
        return True

    def statistics(self) -> dict[str, Statistic | Counted]:
        return dict(drawing.statistics(self.columns, self.names))


def picture_metrics(
    before: Rebuilt | Foretold,
    after: Rebuilt | Foretold,
    baselines: Mapping[str, Rebuilt | Foretold],
    *,
    task: str = "tokenize",
    seed: int = 0,
    n_resamples: int = 1000,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of ``metrics.json``, of systems over the same pictures in the same order.

    Raises:
        DataError: there is no picture.
    """
    if not len(after):
        raise DataError("no pictures to measure", mend="give data.split.test a share")
    systems: dict[str, Any] = {"after": after, "before": before}
    systems |= {f"baseline {name}": one for name, one in baselines.items()}
    drawn = len(after) if after.clusters is None else len(set(np.asarray(after.clusters).tolist()))
    unit = "rows" if after.clusters is None else "concepts, their rows together"
    more = [
        f"Intervals: 95 % percentile bootstrap over {drawn:,} {unit}, {n_resamples:,} resamples. p: two-sided, paired, "
        f"not corrected for the number of comparisons, at least {2 / (n_resamples + 1):.2g}."
    ]
    if drawn < FEW:
        more.append(f"Only {drawn} {unit}: so few give intervals that are too narrow.")
    whole = measured(systems, seed, n_resamples)
    kind = "picture" if task == "tokenize" else "drawing"
    first = next(name for name in (PRIMARY[kind], *whole["after"]) if name in whole["after"])
    return {
        **whole,
        "by": by_group(systems, seed, n_resamples),
        "split": "test",
        "rows": len(after),
        "seed": seed,
        "task": task,
        "kind": kind,
        "primary": first,
        "notes": [*notes, *more],
    }
