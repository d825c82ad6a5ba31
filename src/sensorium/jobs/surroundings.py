"""What a run was made with: versions, machine, seeds, the data's fingerprint, the code's commit."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from sensorium.recipe import Recipe
from sensorium.training.precision import Choice, machine_name

PACKAGES = (
    "sensorium",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "pyarrow",
    "numpy",
    "scikit-learn",
    "Pillow",
    "soundfile",
)


def environment(recipe: Recipe, fingerprint: str, choice: Choice) -> dict[str, Any]:
    """The content of ``environment.json``."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": machine_name(torch.device("cpu")).split(" flags")[0][:200],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cores": psutil.cpu_count(logical=False),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "measured": {
            "precision": choice.precision,
            "attention": choice.attention,
            "gflops": choice.gflops,
            "attention_ms": choice.milliseconds,
        },
        "seeds": {"training": recipe.training.seed, "split": recipe.data.split.seed},
        "data_fingerprint": fingerprint,
        "git_commit": _commit(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that this code runs from; None for an installed package."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
