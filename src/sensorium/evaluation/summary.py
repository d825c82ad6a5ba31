"""``summary.json``: the metrics of several seeds as mean, standard deviation and t-interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One summary of the contents of several ``metrics.json``, a seed each.

    Every ``{"value": …}`` that all of them have becomes ``{"mean", "sd", "low", "high", "values"}``: sd with n − 1, and
    the 95 % t-interval of the mean over seeds. It speaks of the seeds' scatter, not of the test rows': those
    intervals stand in each seed's own file. With one seed, sd, low and high are None.

    Raises:
        ValueError: no runs.
    """
    if not runs:
        raise ValueError("no runs to summarise")
    first = runs[0]
    summary = {"seeds": [run["seed"] for run in runs]}
    for key in ("before", "after", "difference", "baselines", "against", "by"):
        if key in first:
            summary[key] = _merge([run.get(key, {}) for run in runs])
    for key in ("split", "task", "kind", "primary"):
        if key in first:
            summary[key] = first[key]
    summary["rows"] = [run["rows"] for run in runs]
    summary["notes"] = [
        f"Mean, standard deviation and 95 % t-interval over {len(runs)} seeds; "
        "the scatter of the test rows is in each seed's metrics.json.",
        *dict.fromkeys(note for run in runs for note in run.get("notes", [])),
    ]
    return summary


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sd (n − 1) and the 95 % t-interval of the mean of ``values``."""
    from scipy.stats import t

    numbers = np.asarray(values, dtype=np.float64)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return {"mean": mean, "sd": None, "low": None, "high": None, "values": numbers.tolist()}
    sd = float(numbers.std(ddof=1))
    reach = float(t.ppf(0.975, len(numbers) - 1)) * sd / np.sqrt(len(numbers))
    return {"mean": mean, "sd": sd, "low": mean - reach, "high": mean + reach, "values": numbers.tolist()}


def _merge(parts: list[Any]) -> Any:
    """The same tree with every measured leaf summarised; branches that some seed lacks are left out."""
    if all(isinstance(part, dict) and "value" in part for part in parts):
        return spread([part["value"] for part in parts])
    if not all(isinstance(part, dict) for part in parts):
        return parts[0] if all(part == parts[0] for part in parts) else parts
    shared = [key for key in parts[0] if all(key in part for part in parts)]
    return {key: _merge([part[key] for part in parts]) for key in shared}
