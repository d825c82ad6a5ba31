"""``demo``: the main job on real bundled data, its steps fitted to what this machine was measured to do."""

from __future__ import annotations

from typing import Any

from sensorium.jobs.fit import FitResult, fit
from sensorium.recipe import Recipe

EMOJI_ASK: dict[str, Any] = {
    "task": "generate",
    "data": {"source": "emoji-ask", "split": {"group_by": "concept", "validation": 0.1, "test": 0.2}},
    "model": {
        "fusion": {"kind": "tokens", "from_layer": 27, "tokens": 16},
        "adapt": {"method": "full", "layers": 3},
        "image_size": 128,
        "feature_dropout": 0.5,
    },
    "training": {"epochs": 6, "batch_size": 16, "learning_rate": 1e-4, "head_learning_rate": 2e-3, "patience": None},
    "evaluation": {"max_rows": 600, "validation_rows": 300},
}


def demo(minutes: float = 8.0, output: str | None = None, progress: Any = None) -> FitResult:
    """Teach SmolLM2 to answer questions about emoji pictures within ``minutes``, evaluations included.

    Half of the time trains; the rest reads, encodes and measures before and after.
    """
    raw = {**EMOJI_ASK, "output": output or "runs/demo"}
    raw["training"] = {**EMOJI_ASK["training"], "max_minutes": minutes / 2}
    return fit(Recipe.parse(raw, where="demo"), progress=progress)
