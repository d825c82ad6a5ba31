"""``sensorium.load``: a finished run opened to answer, whatever its task."""

from __future__ import annotations

from pathlib import Path

from sensorium.jobs.drawing.opened import OpenedDrawer
from sensorium.jobs.opened import Model
from sensorium.jobs.recommend import OpenedRecommender
from sensorium.run import Run


def load(run: str | Path) -> Model | OpenedRecommender | OpenedDrawer:
    """Open a run's folder to answer with its model. Works with the network off, on any machine that has the folder.

    Returns:
        what predicts and chats; of task recommend, what recommends; of task draw, what draws, edits and captions.

    Raises:
        RunError: there is no run, or a file of it is missing or damaged.
    """
    found = Run.read(run)
    match found.recipe.task:
        case "recommend":
            return OpenedRecommender(run)
        case "draw":
            return OpenedDrawer(run)
    return Model(found)
