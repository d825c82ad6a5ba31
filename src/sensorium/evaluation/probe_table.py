"""``probe.json``: what the picture is worth, for every disguise of the source, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sensorium.evaluation.comparison import by_group, measured
from sensorium.evaluation.translation_table import TranslationMeasured, primary_of, scored
from sensorium.evaluation.verdict import LEVEL, bare, label, shown_p

AGAINST = {"none": "no picture", "wrong": "a wrong picture"}


def probe_metrics(
    cases: TranslationMeasured,
    rows: Mapping[str, np.ndarray],
    said: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    seed: int = 0,
    n_resamples: int = 1000,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of ``probe.json``: hidden -> the measures of ``metrics.json``, for each kind of picture.

    Under each disguise ``after`` is the right picture, ``baselines`` are a wrong one and none, ``against`` the right one
    minus each of them, paired; ``by`` gives the same by direction.

    Args:
        cases: all sentences; their ``systems`` are not read.
        rows: hidden -> (m,) places among ``cases``. said: hidden -> picture (right, wrong, none) -> m translations.
    """
    found: dict[str, Any] = {}
    for hidden, places in rows.items():
        part = _taken(cases, places)
        systems = {
            "after" if picture == "right" else f"baseline {picture}": scored(part, texts)
            for picture, texts in said[hidden].items()
        }
        found[hidden] = {
            **measured(systems, seed, n_resamples),
            "by": by_group(systems, seed, n_resamples),
            "rows": len(places),
        }
    return {"primary": primary_of(cases.references), "hidden": found, "notes": list(notes)}


def probe_rows(probe: dict[str, Any], metric: str | None = None) -> list[list[str]]:
    """A row a disguise as words: hidden, sentences, right, wrong, none, right - none, right - wrong, each with its interval."""
    name = metric or probe["primary"]
    table = []
    for hidden, part in probe["hidden"].items():
        gaps = [part["against"].get(other, {}).get(name) for other in AGAINST]
        table.append(
            [
                hidden,
                f"{part['rows']:,}",
                bare(name, part["after"][name]["value"]),
                *(bare(name, part["baselines"][other][name]["value"]) for other in ("wrong", "none")),
                *(_gap(name, gap) for gap in gaps),
            ]
        )
    return table


PROBE_COLUMNS = ["hidden", "sentences", "right", "wrong", "none", "right - none", "right - wrong"]


def probe_findings(probe: dict[str, Any]) -> list[str]:
    """What the table says, a sentence a disguise and comparison."""
    name = probe["primary"]
    found = []
    for hidden, part in probe["hidden"].items():
        for other, words in AGAINST.items():
            gap = part["against"][other][name]
            hides = f"With {hidden} hidden" if hidden != "nothing" else "With the whole source"
            tone = (
                "no clear difference to" if gap["p"] >= LEVEL else "better than" if gap["value"] > 0 else "worse than"
            )
            told = f"{label(name)} {_gap(name, gap)}, {shown_p(gap['p'])}"
            found.append(f"{hides}, the right picture is {tone} {words}: {told}.")
    return found


def _gap(name: str, gap: dict[str, float]) -> str:
    interval = f"[{bare(name, gap['low'], True)}, {bare(name, gap['high'], True)}]"
    return f"{bare(name, gap['value'], True)} {interval}"


def _taken(cases: TranslationMeasured, places: np.ndarray) -> TranslationMeasured:
    def chosen(column: Sequence[Any]) -> list[Any]:
        return [column[i] for i in places.tolist()]

    return replace(
        cases,
        directions=chosen(cases.directions),
        sources=chosen(cases.sources),
        references=chosen(cases.references),
        systems={},
        clusters=None if cases.clusters is None else chosen(cases.clusters),
        groups={name: chosen(column) for name, column in cases.groups.items()},
    )
