"""``metrics.json``: before, after, their difference and the baselines, each with its interval (DESIGN §6).

All systems are drawn on the same resamples, so every difference is paired. Beside DESIGN's keys stand ``kind`` (of the
target), ``primary`` (the metric a verdict speaks of first), ``against`` (after minus each baseline, paired),
``per_class``, and ``notes`` that say how the intervals were made and where they say little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np

from sensorium.errors import DataError
from sensorium.evaluation.intervals import Resamples, difference, interval
from sensorium.evaluation.predictions import Predictions, align
from sensorium.metrics import classification
from sensorium.metrics.names import PRIMARY
from sensorium.metrics.statistic import Counted, Statistic, values

MAX_GROUPS = 30  # values of a column that results are also given by; the most frequent ones
FEW = 30  # rows or clusters below which a percentile interval is known to be too narrow


class Answers(Protocol):
    """What one system said of n rows, as far as measuring needs to know; ``Predictions`` is one."""

    @property
    def clusters(self) -> Any: ...

    @property
    def groups(self) -> Mapping[str, Sequence[Any]]: ...

    def __len__(self) -> int: ...

    def take(self, positions: np.ndarray) -> Self: ...

    def answers_all(self) -> bool: ...

    def statistics(self) -> Mapping[str, Statistic | Counted]: ...


def compare(
    before: Predictions | None,
    after: Predictions,
    baselines: dict[str, Predictions] | None = None,
    *,
    task: str,
    split: str = "test",
    seed: int = 0,
    n_resamples: int = 1000,
    cluster_name: str = "cluster",
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of ``metrics.json``.

    Args:
        before, after: answers to the same rows in any order; ``before`` is None where one model alone is measured.
        baselines: name -> answers to the same rows. One that answers only some of them (predictions of None elsewhere)
            is reported for those groups alone that it answers in full.
        task: the recipe's; split: which rows these are; seed: of the run and of the resamples.
        cluster_name: what a cluster is called in the notes (the column grouped by).
        notes: sentences to put first among the notes.

    Raises:
        DataError: the systems answer different rows, or no row has a known answer.
    """
    systems = {"after": after, **({"before": before} if before is not None else {})}
    systems |= {f"baseline {name}": system for name, system in (baselines or {}).items()}
    unlabelled = len(after) - len(after.labelled())
    systems = align(systems)
    after = systems["after"]
    if not len(after):
        raise DataError("no rows with a known answer to measure", mend="give a split that has some")
    found: dict[str, Any] = {
        **measured(systems, seed, n_resamples),
        "by": by_group(systems, seed, n_resamples),
        "split": split,
        "rows": len(after),
        "seed": seed,
        "task": task,
        "kind": after.kind,
        "primary": PRIMARY[after.kind],
    }
    if after.kind == "category":
        found["per_class"] = {
            name: classification.per_class(*systems[name].encoded(), after.classes or [])
            for name in ("before", "after")
            if name in systems
        }
    found["notes"] = [*notes, *_notes(systems, unlabelled, n_resamples, cluster_name)]
    return found


def measured(systems: Mapping[str, Answers], seed: int, n_resamples: int) -> dict[str, Any]:
    """``before``, ``after``, ``difference``, ``baselines`` and ``against`` on one set of rows.

    Args:
        systems: "after", "before" where there is one, and "baseline NAME", all about the same rows in the same order.
    """
    after = systems["after"]
    draws = Resamples(len(after), n_resamples=n_resamples, seed=seed, clusters=after.clusters)
    value: dict[str, dict[str, float]] = {}
    resampled: dict[str, dict[str, np.ndarray]] = {}
    for name, system in systems.items():
        if system.answers_all():
            statistics = system.statistics()
            value[name], resampled[name] = values(statistics), draws.values(statistics)

    def intervals(name: str) -> dict[str, dict[str, float]]:
        return {m: interval(value[name][m], resampled[name][m]).to_dict() for m in value[name]}

    def gap(name: str) -> dict[str, dict[str, float]]:
        """After minus the system called ``name``, in the metrics that both have."""
        shared = [m for m in value["after"] if m in value[name]]
        return {
            m: difference(value[name][m], value["after"][m], resampled[name][m], resampled["after"][m]).to_dict()
            for m in shared
        }

    found: dict[str, Any] = {}
    if "before" in value:
        found["before"] = intervals("before")
    found["after"] = intervals("after")
    if "before" in value:
        found["difference"] = gap("before")
    simple = {name.removeprefix("baseline "): name for name in value if name.startswith("baseline ")}
    found["baselines"] = {short: intervals(name) for short, name in simple.items()}
    found["against"] = {short: gap(name) for short, name in simple.items()}
    return found


def by_group(systems: Mapping[str, Answers], seed: int, n_resamples: int) -> dict[str, dict[str, Any]]:
    """Column -> value -> the same measures on its rows, the most frequent values first."""
    found: dict[str, dict[str, Any]] = {}
    for column, cells in systems["after"].groups.items():
        labels = np.array(["(missing)" if cell is None else str(cell) for cell in cells], dtype=object)
        found[column] = {}
        for label, count in sorted(Counter(labels.tolist()).items(), key=lambda item: (-item[1], item[0]))[:MAX_GROUPS]:
            positions = np.flatnonzero(labels == label)
            part = {name: system.take(positions) for name, system in systems.items()}
            found[column][label] = {**measured(part, seed, n_resamples), "rows": count}
    return found


def _notes(systems: dict[str, Predictions], unlabelled: int, n_resamples: int, cluster_name: str) -> list[str]:
    after = systems["after"]
    units = len(after) if after.clusters is None else len(set(np.asarray(after.clusters).tolist()))
    of = "rows" if after.clusters is None else f"clusters of rows with equal {cluster_name}"
    notes = [
        f"Intervals: 95 % percentile bootstrap over {units:,} {of}, {n_resamples:,} resamples. "
        f"p: two-sided, paired, not corrected for the number of comparisons, at least {2 / (n_resamples + 1):.2g}."
    ]
    if units < FEW:
        what = "rows" if after.clusters is None else "clusters"
        notes.append(f"Only {units} {what}: so few give intervals that are too narrow.")
    if unlabelled:
        notes.append(f"{unlabelled:,} rows without a known answer are left out.")
    if after.kind == "category":
        unknown = int((after.encoded()[0] < 0).sum())
        if unknown:
            notes.append(f"{unknown:,} rows are of a class that the model does not know; they count as wrong.")
    known = None if after.likelihoods is None else int(np.isfinite(after.likelihoods).sum())
    if after.kind == "text" and known is not None and known < len(after):
        notes.append(f"The likelihood of the right answer is known for {known:,} of {len(after):,} rows.")
    for column, cells in after.groups.items():
        distinct = len({str(cell) for cell in cells})
        if distinct > MAX_GROUPS:
            notes.append(f"By {column}: the {MAX_GROUPS} most frequent of {distinct:,} values.")
    for name, system in systems.items():
        if not system.answers_all():
            notes.append(
                f"{name.removeprefix('baseline ')} answers some rows only and is given for those groups alone."
            )
    return notes
