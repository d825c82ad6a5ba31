"""What simpler methods reach on the same features, rows and split: logistic regression on frozen features."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.common import mean
from sensorium import assets
from sensorium.evaluation.baselines import Known, linear_probe
from sensorium.jobs.features import encoder_features
from sensorium.jobs.parts import build
from sensorium.jobs.prepare import described, prepare
from sensorium.recipe import Recipe
from sensorium.training.progress import make_progress

REFERENCES = {"image": ("picture",), "MiniLM name": ("name",), "image + MiniLM name": ("name", "picture")}


def probes(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Each reference on the features of ``recipe``'s encoders: ``right`` on the test rows ``rows``, ``validation``."""
    progress = make_progress()
    prepared = prepare(recipe, progress)
    recipe = described(recipe, prepared.schema)
    parts = build(recipe, prepared)
    splits = prepared.splits
    rows = np.concatenate([splits.train, splits.validation, splits.test])
    folder = assets.cache_root() / "features"
    cached = encoder_features(parts, prepared, recipe, rows, folder, progress, progress)

    def known(part: np.ndarray, inputs: tuple[str, ...]) -> Known:
        vectors = [np.stack([cached[name](int(row))[0].float().numpy() for row in part]) for name in inputs]  # type: ignore[index]
        return Known(prepared.cells(str(prepared.schema.target), part), np.concatenate(vectors, 1))

    found = {}
    for name, inputs in REFERENCES.items():
        train, validation, test = (known(part, inputs) for part in (splits.train, splits.validation, splits.test))
        both = np.concatenate([validation.features, test.features])  # type: ignore[list-item]
        names, probabilities, note = linear_probe(train, validation, both)
        answers = [names[i] for i in probabilities.argmax(1)]
        n = len(validation.targets)
        hits = [float(a == str(t)) for a, t in zip(answers, [*validation.targets, *test.targets], strict=True)]
        found[name] = {"rows": splits.test.tolist(), "right": hits[n:], "validation": mean(hits[:n]), "note": note}
    return found
