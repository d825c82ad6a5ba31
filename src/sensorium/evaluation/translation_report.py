"""``report.html`` of a translator: the report of every task, with BLEU over minutes, and what pictures are worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.evaluation.charts import Line, line_chart
from sensorium.evaluation.embed import Media
from sensorium.evaluation.probe_table import PROBE_COLUMNS, probe_findings, probe_rows
from sensorium.evaluation.report import ReportInputs, Sample, report
from sensorium.evaluation.translation_table import TranslationMeasured
from sensorium.evaluation.verdict import label
from sensorium.metrics import generation
from sensorium.run import write_atomic

SAMPLES = 24


def translation_report(
    cases: TranslationMeasured,
    metrics: dict[str, Any],
    history: dict[str, Any] | None = None,
    *,
    title: str,
    recipe_yaml: str = "",
    pictures: Mapping[int, Media] | None = None,
    probe: dict[str, Any] | None = None,
    data_report: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    timings: dict[str, Any] | None = None,
) -> str:
    """The page as HTML text; arguments as of ``ReportInputs``, and

    Args:
        cases: what ``metrics`` were made from.
        pictures: of some of ``choose_translations``, by place. probe: the content of ``probe.json``.
    """
    inputs = ReportInputs(
        title,
        recipe_yaml,
        metrics,
        history=history or {},
        samples=_samples(cases, pictures or {}),
        data_report=data_report or {},
        environment=environment or {},
        timings=timings or {},
    )
    return report(inputs, "translation.html.j2", minutes=minutes_chart(history or {}), probe=_probed(probe))


def write_translation_report(
    path: Path, cases: TranslationMeasured, metrics: dict[str, Any], *args: Any, **named: Any
) -> None:
    """Write ``translation_report`` of the same arguments to ``path``, whole or not at all."""
    write_atomic(path, translation_report(cases, metrics, *args, **named))


def choose_translations(cases: TranslationMeasured, count: int = SAMPLES) -> list[int]:
    """Places of sentences from the worst to the best translated, by chrF, at equal distances; each direction in turn."""
    quality = generation.scores([str(text) for text in cases.systems["after"]], [str(r) for r in cases.references])[
        "chrf"
    ]
    order = np.argsort(quality, kind="stable")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return order[places].tolist()


def minutes_chart(history: dict[str, Any]) -> dict[str, Any] | None:
    """The validated metric over the minutes of training; None where nothing was validated in time."""
    measured = str((history.get("best") or {}).get("metric", ""))
    points = [
        (entry["seconds"] / 60, entry["metrics"][measured])
        for entry in history.get("validations", [])
        if "seconds" in entry and measured in entry["metrics"]
    ]
    if not points:
        return None
    name = f"Validation: {label(measured)}"
    drawn = line_chart(name, [Line(label(measured), points, "main", dots=True)], "minutes of training")
    return {"title": f"{name} over minutes", "svg": drawn}


def _samples(cases: TranslationMeasured, pictures: Mapping[int, Media]) -> list[Sample]:
    before = cases.systems.get("before")
    return [
        Sample(
            row=f"{i}, {cases.directions[i]}",
            inputs=({"picture": pictures[i]} if i in pictures else {}) | {"source": cases.sources[i]},
            target=cases.references[i],
            before=None if before is None else before[i],
            after=cases.systems["after"][i],
        )
        for i in choose_translations(cases)
    ]


def _probed(probe: dict[str, Any] | None) -> dict[str, Any] | None:
    if probe is None:
        return None
    return {
        "columns": PROBE_COLUMNS,
        "rows": probe_rows(probe),
        "metric": label(probe["primary"]),
        "findings": probe_findings(probe),
        "notes": probe["notes"],
    }
