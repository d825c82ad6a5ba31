"""``report.html`` of a job that makes pictures: the report of every task, with sheets of pictures to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sensorium.evaluation.embed import Budget, Media
from sensorium.evaluation.report import MEDIA_BYTES, ReportInputs, cell, report


@dataclass(frozen=True)
class Shown:
    """Pictures that stand together, each under a word, and a line of text about them."""

    text: str
    pictures: Sequence[tuple[str, Media]]


@dataclass(frozen=True)
class Sheet:
    """Pictures to look at, ``lead`` saying what they are and how they were chosen."""

    title: str
    lead: str
    shown: Sequence[Shown]


def picture_report(inputs: ReportInputs, sheets: Sequence[Sheet]) -> str:
    """The page as HTML text."""
    budget = Budget(MEDIA_BYTES)
    drawn: list[dict[str, Any]] = []
    for sheet in sheets:
        figures = [
            {
                "text": shown.text,
                "pictures": [cell(name, media, f"{name}: {shown.text}", budget) for name, media in shown.pictures],
            }
            for shown in sheet.shown
        ]
        drawn.append({"title": sheet.title, "lead": sheet.lead, "figures": figures})
    return report(inputs, "pictures.html.j2", sheets=drawn)
