"""What the report of a recommend run shows of its data, and of a few people: titles and pictures in place of indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensorium.data.interactions.arrays import Entities, Histories, Interactions
from sensorium.data.media import read_media
from sensorium.errors import MediaError
from sensorium.evaluation.embed import Media
from sensorium.evaluation.ranking_report import Person, Suggestion, choose_people
from sensorium.evaluation.ranking_table import LIST, RankingMeasured
from sensorium.jobs.ranking.rankings import Shop

LAST = 6  # items of the history that are shown


def people(inter: Interactions, cases: RankingMeasured, test: Histories, count: int = 12) -> list[Person]:
    """Cases that were found and cases that were missed, as people read them.

    Args:
        test: the histories of ``cases``, in their order.
    """
    found = []
    for i in choose_people(cases, count):
        user, target = int(cases.users[i]), int(cases.targets[i])
        listed = [item for item in np.asarray(cases.top["after"])[i, :LIST].tolist() if item >= 0]
        seen = test.items[i][test.items[i] >= 0][-LAST:].tolist()
        found.append(
            Person(
                user=inter.users.names[user],
                history=[title(inter.items, item) for item in seen],
                recommended=[Suggestion(title(inter.items, item), _picture(inter.items, item)) for item in listed],
                held_out=title(inter.items, target),
                rank=int(cases.ranks["after"][i]),
                place=listed.index(target) if target in listed else None,
                about=_about(inter.users, user),
            )
        )
    return found


def data_found(shop: Shop) -> dict[str, Any]:
    """The ``data_report`` of ``ReportInputs``: a row is an interaction; what was set aside, and what is worth knowing."""
    report = shop.report
    findings = [
        {
            "kind": kind,
            "count": count,
            "severity": "quarantine" if kind in report.dropped else "note",
            "message": report.told[kind],
        }
        for kind, count in report.findings.items()
    ]
    counts = {"users": len(shop.inter.users), "items": len(shop.inter.items)}
    findings += [
        {"kind": kind, "count": count, "severity": "note", "message": f"{count:,} {kind}"}
        for kind, count in counts.items()
    ]
    return {
        "rows": report.rows,
        "quarantined": len(report.set_aside),
        "splits": shop.sizes,
        "findings": findings,
    }


def title(items: Entities, item: int) -> str:
    """The first text that the item's row holds, else its id."""
    for name, kind in items.inputs.items():
        if kind == "text" and items.cells[name][item]:
            return str(items.cells[name][item])
    return items.names[item]


def _about(users: Entities, user: int) -> str:
    cells = [(name, users.cells[name][user]) for name, kind in users.inputs.items() if kind in ("category", "number")]
    return ", ".join(f"{name} {_plain(cell)}" for name, cell in cells if cell is not None)


def _plain(cell: Any) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)


def _picture(items: Entities, item: int) -> Media | None:
    """The item's first picture; None where it has none, or one that cannot be read."""
    for name, kind in items.inputs.items():
        if kind == "image" and items.cells[name][item] is not None:
            try:
                return Media("image", read_media(items.cells[name][item], items.root))
            except MediaError:
                return None
    return None
