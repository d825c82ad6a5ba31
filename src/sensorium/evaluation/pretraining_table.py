"""``metrics.json`` of a pretrain run: language, order of sentences and retrieval, on held-out documents or rows.

The shape is that of every other task (``comparison``). A unit is a document, or a row of a table with media; intervals
draw units, so that the tokens of a document stay together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import DataError
from sensorium.evaluation.comparison import FEW, measured
from sensorium.metrics.language import statistics
from sensorium.metrics.statistic import Counted, Statistic

# What a verdict speaks of first: the first of these that was measured.
FIRST = ("perplexity", "masked_accuracy", "recall@10", "next_sentence_accuracy", "matching_accuracy")


@dataclass(frozen=True)
class Language:
    """What one system reached on n units: column -> (n,), see ``metrics.language``."""

    columns: Mapping[str, np.ndarray]
    clusters: Any = None
    groups: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, positions: np.ndarray) -> Language:
        return Language({name: column[positions] for name, column in self.columns.items()})

    def answers_all(self) -> bool:
        return True

    def statistics(self) -> dict[str, Statistic | Counted]:
        return dict(statistics(self.columns))


def pretraining_metrics(
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    baselines: Mapping[str, Mapping[str, np.ndarray]],
    *,
    units: str,
    seed: int = 0,
    n_resamples: int = 1000,
    clusters: Any = None,
    replayed: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of ``metrics.json``.

    Args:
        before, after, baselines: columns (n,) of ``metrics.language`` over the same units in the same order.
        units: what a unit is called: documents, rows.
        clusters: (n,) labels of units that are drawn together.
        replayed: columns before and after over held-out documents of the text that is read again: what is forgotten.

    Raises:
        DataError: there is no unit.
    """
    if not len(next(iter(after.values()), ())):
        raise DataError(f"no {units} to measure", mend="give data.split.test a share")
    systems = {"after": Language(after, clusters), "before": Language(before, clusters)}
    systems |= {f"baseline {name}": Language(columns, clusters) for name, columns in baselines.items()}
    whole = measured(systems, seed, n_resamples)
    n = len(systems["after"])
    drawn = n if clusters is None else len(set(np.asarray(clusters).tolist()))
    said = (
        f"Intervals: 95 % percentile bootstrap over {drawn:,} {units if clusters is None else 'groups of ' + units}, "
    )
    more = [
        f"{said}{n_resamples:,} resamples. p: two-sided, paired, not corrected for the number of comparisons, "
        f"at least {2 / (n_resamples + 1):.2g}."
    ]
    if drawn < FEW:
        more.append(f"Only {drawn} {units}: so few give intervals that are too narrow.")
    return {
        **whole,
        "by": {"text": {"replayed": _apart(*replayed, seed, n_resamples)}} if replayed is not None else {},
        "split": "test",
        "rows": n,
        "seed": seed,
        "task": "pretrain",
        "kind": "language",
        "primary": next(name for name in FIRST if name in whole["after"]),
        "notes": [*notes, *more],
    }


def _apart(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], seed: int, n_resamples: int
) -> dict[str, Any]:
    systems = {"after": Language(after), "before": Language(before)}
    return {**measured(systems, seed, n_resamples), "rows": len(systems["after"])}
