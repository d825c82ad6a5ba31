"""A run's folder, locked and begun: what every ``fit`` starts with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sensorium.recipe import Recipe
from sensorium.run import Run


@contextmanager
def begun(folder: Path, recipe: Recipe, fingerprint: str, fresh: bool, progress: Any) -> Iterator[Run]:
    """The locked run of ``recipe``, new or to be gone on with.

    Args:
        fresh: move an earlier run aside first.

    Raises:
        RunError: another process holds it, or it is another recipe's or other data's.
    """
    with Run.locked(folder) as run:
        aside = run.set_aside() if fresh else None
        if aside is not None:
            progress(f"the earlier run is now in {aside}")
        run.begin(recipe, fingerprint)
        yield run
