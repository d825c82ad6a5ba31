"""How people want pictures drawn, checked: numbers within their bounds, and the run's own where nothing is said."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from sensorium.errors import DataError
from sensorium.models.drawing.guidance import DrawingSettings

MOST_PICTURES = 100  # of one call
# name: least, most, whether whole
BOUNDS: dict[str, tuple[float, float, bool]] = {
    "guidance": (0.0, 20.0, False),
    "temperature": (0.0, 10.0, False),
    "top_k": (0, 1_000_000, True),
    "top_p": (0.0, 1.0, False),
    "candidates": (1, 32, True),
    "steps": (1, 64, True),
}


def settings_for(own: Mapping[str, Any], places: int, wishes: Mapping[str, Any]) -> DrawingSettings:
    """The run's own settings with what is asked for in their place; None asks for nothing.

    Args:
        own: ``guidance`` and ``temperature`` of the run. places: codes of a picture, the most steps there are.

    Raises:
        DataError: a setting that there is not, or a number out of range.
    """
    given = {name: value for name, value in wishes.items() if value is not None}
    for name, value in given.items():
        if name == "parallel":
            continue
        if name not in BOUNDS:
            near = difflib.get_close_matches(name, [*BOUNDS, "parallel"], 1)
            mend = f"did you mean {near[0]}?" if near else f"known: {', '.join([*BOUNDS, 'parallel'])}"
            raise DataError("there is no such setting", where=name, mend=mend)
        least, most, whole = BOUNDS[name]
        checked_number(name, value, least, most, whole=whole, above=name == "top_p")
    settings = DrawingSettings(**{"guidance": own["guidance"], "temperature": own["temperature"], **given})
    return settings if settings.steps <= places else DrawingSettings(**{**vars(settings), "steps": places})


def checked_number(
    name: str, value: Any, least: float, most: float, *, whole: bool = False, above: bool = False
) -> None:
    """DataError unless ``value`` is a number from ``least`` to ``most``, ``above`` it where that is asked."""
    right = isinstance(value, int if whole else int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not right or not least <= value <= most or (above and value == least):
        kind = "a whole number" if whole else "a number"
        start = f"above {least:g}, {most:g} at the most" if above else f"from {least:g} to {most:,.15g}"
        raise DataError(f"{_shown(value)} is not {kind} {start}", where=name, mend="give one")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)
