"""``sensorium.load``: a finished run opened to answer, whatever its task."""

from __future__ import annotations

from pathlib import Path

from sensorium.jobs.opened import Model
from sensorium.jobs.recommend import OpenedRecommender
from sensorium.run import Run


def load(run: str | Path) -> Model | OpenedRecommender:
    """Open a run's folder to answer with its model. Works with the network off, on any machine that has the folder.

    Returns:
        what predicts and chats, or, of task recommend, what recommends.

    Raises:
        RunError: there is no run, or a file of it is missing or damaged.
    """
    found = Run.read(run)
    return OpenedRecommender(run) if found.recipe.task == "recommend" else Model(found)
