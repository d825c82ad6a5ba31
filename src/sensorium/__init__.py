"""Sensorium teaches a GPT to see, hear and read your data, and proves that it got better.

The public API, nothing else. Names load when they are first used (PEP 562), so that importing the package
touches no disk, network or environment, and a command's help costs no deep-learning stack.

>>> import sensorium
>>> result = sensorium.fit(sensorium.Recipe.load("recipes/emoji-ask.yaml"))     # doctest: +SKIP
>>> model = sensorium.load(result.folder)     # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.errors import SensoriumError as SensoriumError
    from sensorium.jobs.evaluate import evaluate as evaluate
    from sensorium.jobs.fit import fit as fit
    from sensorium.jobs.load import load as load
    from sensorium.recipe import Recipe as Recipe
    from sensorium.run import Run as Run

__version__ = "0.1.0"

# Named as text: an import statement here would tie every module to the jobs, which sit above them all.
_HOMES = {
    "Recipe": "sensorium.recipe",
    "Run": "sensorium.run",
    "SensoriumError": "sensorium.errors",
    "evaluate": "sensorium.jobs.evaluate",
    "fit": "sensorium.jobs.fit",
    "load": "sensorium.jobs.load",
}
__all__ = ["Recipe", "Run", "SensoriumError", "__version__", "evaluate", "fit", "load"]


def __getattr__(name: str) -> Any:
    """The public object ``name``, imported on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
