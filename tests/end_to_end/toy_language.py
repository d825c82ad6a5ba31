"""Parallel text of a toy: numbers in words, said word for word by the other language."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

ENGLISH = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
GERMAN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"]


def write_files(folder: Path, pairs: int = 1200) -> list[str]:
    """train, val and test of line-aligned files; the paths' globs."""
    rng = np.random.default_rng(0)
    for part, count in (("train", pairs), ("val", 24), ("test", 24)):
        rows = [rng.integers(10, size=rng.integers(3, 7)) for _ in range(count)]
        (folder / f"{part}.en").write_text("".join(" ".join(ENGLISH[i] for i in row) + "\n" for row in rows))
        (folder / f"{part}.de").write_text("".join(" ".join(GERMAN[i] for i in row) + "\n" for row in rows))
    return [str(folder / "*.en"), str(folder / "*.de")]


def write_recipe(folder: Path, output: str, pairs: int = 1200, **training: object) -> Path:
    """A recipe of a translator of the toy, both ways, in ``folder``."""
    asked = {"epochs": 2, "batch_size": 32, "learning_rate": 5e-3, "precision": "fp32", "patience": None}
    raw = {
        "task": "generate",
        "data": {"source": write_files(folder, pairs), "format": "parallel"},
        "model": {
            "scratch": {
                "architecture": "encoder_decoder", "width": 32, "layers": 1, "heads": 2, "feed_forward": 64,
                "dropout": 0.1, "vocabulary": 320, "window": 32,
            }
        },
        "translation": {"directions": ["en-de", "de-en"], "beam": 3, "average": 0.9},
        "training": asked | training,
        "evaluation": {"bootstrap": 100},
        "tracking": [],
        "output": str(folder / output),
    }  # fmt: skip
    path = folder / f"{output}.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path
