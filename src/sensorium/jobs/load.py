"""``sensorium.load``: a finished run opened to answer, whatever its task."""

from __future__ import annotations

from pathlib import Path

from sensorium.jobs.drawing.opened import OpenedDrawer
from sensorium.jobs.drawing.tokenizer_parts import open_picture_tokenizer
from sensorium.jobs.opened import Model
from sensorium.jobs.recommend import OpenedRecommender
from sensorium.jobs.translation.gpt import GptTranslator
from sensorium.jobs.translation.opened import OpenedTranslator, open_translator
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer
from sensorium.run import Run

Opened = Model | OpenedRecommender | OpenedDrawer | OpenedTranslator | GptTranslator | PictureTokenizer


def load(run: str | Path) -> Opened:
    """Open a run's folder to answer with its model. Works with the network off, on any machine that has the folder.

    Returns:
        what predicts and chats; of task recommend, what recommends; of task draw, what draws, edits and captions;
        of task tokenize, what turns pictures into codes; of a recipe with ``translation``, what translates.

    Raises:
        RunError: there is no run, or a file of it is missing or damaged.
    """
    found = Run.read(run)
    match found.recipe.task:
        case "recommend":
            return OpenedRecommender(run)
        case "draw":
            return OpenedDrawer(run)
        case "tokenize":
            return open_picture_tokenizer(str(run))
    if found.recipe.translation is not None:
        return open_translator(Path(run))
    return Model(found)
