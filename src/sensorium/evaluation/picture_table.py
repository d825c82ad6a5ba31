"""``metrics.json`` of a tokenize run: pictures rebuilt from their codes, on held-out pictures.

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


def picture_metrics(
    before: Rebuilt,
    after: Rebuilt,
    baselines: Mapping[str, Rebuilt],
    *,
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
    systems = {"after": after, "before": before} | {f"baseline {name}": one for name, one in baselines.items()}
    drawn = len(after) if after.clusters is None else len(set(np.asarray(after.clusters).tolist()))
    unit = "pictures" if after.clusters is None else "concepts, their pictures together"
    more = [
        f"Intervals: 95 % percentile bootstrap over {drawn:,} {unit}, {n_resamples:,} resamples. p: two-sided, paired, "
        f"not corrected for the number of comparisons, at least {2 / (n_resamples + 1):.2g}."
    ]
    if drawn < FEW:
        more.append(f"Only {drawn} {unit}: so few give intervals that are too narrow.")
    return {
        **measured(systems, seed, n_resamples),
        "by": by_group(systems, seed, n_resamples),
        "split": "test",
        "rows": len(after),
        "seed": seed,
        "task": "tokenize",
        "kind": "picture",
        "primary": "psnr",
        "notes": [*notes, *more],
    }
