"""A list of items, what is said about it, and what cannot be asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from sensorium.data.interactions.checks import id_text
from sensorium.errors import DataError
from sensorium.tasks.ranking_reasons import Reason

NOBODY = "what the model gives a visitor of whom nothing is known"


@dataclass(frozen=True)
class Recommended:
    """One item; ``reasons``: what its score would lose without it, the strongest first, by title or input."""

    item: str
    title: str
    score: float
    reasons: list[Reason] = field(default_factory=list)


@dataclass(frozen=True)
class Recommendations:
    """A list, and what there is to say about it.

    Attributes:
        known: whether anything is known of whom it is for; otherwise it is what any visitor gets.
    """

    items: list[Recommended]
    notes: list[str]
    known: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def notes_of(told: object, user: int) -> list[str]:
    """What is said of a row's user, whose place among the run's is ``user``, -1 for none."""
    if user >= 0:
        return []
    return [f"there is no user: {NOBODY}" if id_text(told) is None else f"no user of this run: {NOBODY}"]


def check_wishes(top: int, diversity: float = 0.0, freshness: float = 0.0) -> None:
    """DataError where a list of that kind cannot be made."""
    if top < 1:
        raise DataError(f"top {top} asks for nothing", mend="ask for at least 1")
    for name, value in (("diversity", diversity), ("freshness", freshness)):
        if not 0 <= value <= 1:
            raise DataError(f"{name} {value:g} is out of range", mend="give 0 to 1")
