"""What the report's template lays out: the figures as ready words, and the charts."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from sensorium.evaluation.charts import Line, line_chart, smooth
from sensorium.evaluation.confusion import Confusion
from sensorium.evaluation.table import clean
from sensorium.evaluation.verdict import LEVEL, bare, label, number, plain, shown_p
from sensorium.metrics.names import METRICS

MAX_CELLS = 25  # classes up to which a confusion is a table with figures; beyond, a picture
HEADINGS = {"before": "Before training", "after": "After training"}


def systems(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """The primary metric of every system as a bar with its interval, on a common scale in % of the width."""
    primary = metrics["primary"]
    found: list[tuple[str, str, Any]] = [(key, HEADINGS[key], metrics[key]) for key in HEADINGS if key in metrics]
    found += [("simple", f"Baseline: {plain(name)}", part) for name, part in metrics.get("baselines", {}).items()]
    rows = [(key, name, part[primary]) for key, name, part in found if primary in part]
    if METRICS[primary].unit == "share" and metrics.get("kind") != "ranking":  # few of which come near 1
        low, high = 0.0, 1.0
    else:
        low = min(0.0, *(measured["low"] for _, _, measured in rows))
        high = max(*(measured["high"] for _, _, measured in rows), low + 1e-12)

    def across(value: float) -> float:
        return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2)

    return {
        "metric": label(primary),
        "better": "more is better" if METRICS[primary].higher_is_better else "less is better",
        "low": number(primary, low),
        "high": number(primary, high),
        "rows": [
            {
                "key": key,
                "name": name,
                "value": number(primary, measured["value"]),
                "interval": f"{bare(primary, measured['low'])}–{bare(primary, measured['high'])}",
                "at": across(measured["value"]),
                "from": across(measured["low"]),
                "width": max(across(measured["high"]) - across(measured["low"]), 0.3),
            }
            for key, name, measured in rows
        ],
    }


def results(metrics: dict[str, Any]) -> dict[str, Any]:
    """The main table: a row a metric, a column a system."""
    simple = list(metrics.get("baselines", {}))
    rows = []
    for name in metrics["after"]:
        gap = metrics.get("difference", {}).get(name)
        rows.append(
            {
                "name": label(name),
                "unit": "%" if METRICS[name].unit == "share" else "",
                "meaning": METRICS[name].meaning,
                "better": "more" if METRICS[name].higher_is_better else "less",
                "before": _cell(metrics.get("before", {}).get(name), name),
                "after": _cell(metrics["after"][name], name),
                "change": _change(gap, name),
                "baselines": [_cell(metrics["baselines"][b].get(name), name) for b in simple],
            }
        )
    return {"rows": rows, "baselines": [plain(b) for b in simple], "paired": "before" in metrics}


def groups(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """One table for each column that results are also given by."""
    primary = metrics["primary"]
    found = []
    for column, values in metrics.get("by", {}).items():
        simple = list(dict.fromkeys(b for part in values.values() for b in part.get("baselines", {})))
        rows = [
            {
                "name": value,
                "rows": part["rows"],
                "before": _cell(part.get("before", {}).get(primary), primary),
                "after": _cell(part["after"].get(primary), primary),
                "change": _change(part.get("difference", {}).get(primary), primary),
                "baselines": [_cell(part.get("baselines", {}).get(b, {}).get(primary), primary) for b in simple],
            }
            for value, part in values.items()
        ]
        paired = "before" in metrics
        unit = "%" if METRICS[primary].unit == "share" else ""
        found.append({"column": column, "metric": label(primary), "unit": unit, "rows": rows,
                      "baselines": [plain(b) for b in simple], "paired": paired})  # fmt: skip
    return found


def charts(history: dict[str, Any]) -> list[dict[str, Any]]:
    """Training loss with its trend, the validated metric with the best step ringed, and the learning rate."""
    losses = [(float(entry[0]), float(entry[1])) for entry in history.get("losses", [])]
    validations = history.get("validations", [])
    best = history.get("best") or {}
    found: list[tuple[str, list[Line], tuple[float, float, str] | None]] = []
    held_out = [(v["step"], v["metrics"]["loss"]) for v in validations if "loss" in v["metrics"]]
    lines = [Line("training loss", losses, "raw" if len(losses) > 20 else "main")]
    if len(losses) > 20:
        lines.append(Line("its moving average", smooth(losses), "main"))
    lines.append(Line("validation loss", held_out, "second", dots=True))
    found.append(("Loss", lines, None))
    measured = best.get("metric") or next((name for v in validations for name in v["metrics"] if name != "loss"), None)
    if measured and measured != "loss":
        points = [(v["step"], v["metrics"][measured]) for v in validations if measured in v["metrics"]]
        ring = (
            (best["step"], best["value"], f"best: {number(measured, best['value'])}")
            if best.get("step") is not None
            else None
        )
        found.append((f"Validation: {label(measured)}", [Line(label(measured), points, "main", dots=True)], ring))
    for name in dict.fromkeys(name for v in validations for name in v["metrics"] if measured == "loss" != name):
        parts = [(v["step"], v["metrics"][name]) for v in validations if name in v["metrics"]]  # each objective's own
        found.append((f"Validation: {label(name)}", [Line(label(name), parts, "second", dots=True)], None))
    rates = [(float(entry[0]), float(entry[2])) for entry in history.get("losses", []) if len(entry) > 2]
    found.append(("Learning rate (share of its peak)", [Line("learning rate", rates, "main")], None))
    views = []
    for title, lines, ring in found:
        drawn = line_chart(title, lines, "optimiser step", ring)
        if drawn:
            views.append(
                {"title": title, "svg": drawn, "legend": [(line.style, line.name) for line in lines if line.points]}
            )
    return views


def confusion_view(name: str, part: Confusion) -> dict[str, Any]:
    """A confusion as a table with shaded figures, or as a picture when there are many classes; and its worst cells."""
    totals = part.counts.sum(1, keepdims=True)
    shares = part.counts / totals.clip(min=1)
    small = len(part.given) <= MAX_CELLS and len(part.right) <= MAX_CELLS
    rows = [
        {
            "name": right,
            "total": int(totals[i, 0]),
            "cells": [
                {"count": int(count), "shade": round(float(shares[i, j]) ** 0.5, 3), "right": right == part.given[j]}
                for j, count in enumerate(part.counts[i])
            ],
        }
        for i, right in enumerate(part.right)
    ]
    return {
        "name": name,
        "given": part.given,
        "rows": rows if small else [],
        "picture": None if small else _heat_map(part, shares),
        "mistakes": part.mistakes(),
    }


def per_class(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a class: support, precision, recall and F1 in %, with F1 before; the weakest first."""
    table = metrics.get("per_class") or {}
    before = table.get("before", {})
    rows = [
        {
            "name": name,
            "support": row["support"],
            "before": f"{100 * before[name]['f1']:.1f}" if name in before else "–",
            **{key: f"{100 * row[key]:.1f}" for key in ("precision", "recall", "f1")},
            "order": (row["f1"], name),
        }
        for name, row in table.get("after", {}).items()
    ]
    return sorted(rows, key=lambda row: row["order"])


def data_view(data_report: dict[str, Any]) -> dict[str, Any]:
    """Counts and findings, gravest first."""
    order = {"quarantine": 0, "warning": 1, "note": 2}
    aside = data_report.get("quarantined", 0)
    found = sorted(
        data_report.get("findings", []), key=lambda f: (order.get(f.get("severity", ""), 3), -f.get("count", 0))
    )
    return {
        "rows": data_report.get("rows"),
        "quarantined": aside if isinstance(aside, int) else len(aside),
        "splits": [
            (name, count) for name, count in (data_report.get("splits") or {}).items() if isinstance(count, int)
        ],
        "findings": [
            {
                "severity": finding.get("severity", "note"),
                "kind": words(str(finding.get("kind", ""))),
                "column": finding.get("column") or "",
                "count": finding.get("count", 0),
                "message": finding.get("message", ""),
            }
            for finding in found
        ],
    }


def flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested dicts as (dotted key, text), in order."""
    found: list[tuple[str, str]] = []
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, dict):
            found += flat(inner, f"{name}.")
        else:
            found.append((name, ", ".join(map(str, inner)) if isinstance(inner, list | tuple) else str(inner)))
    return found


def words(key: str) -> str:
    """``training_seconds`` as "training", ``peak_memory_bytes`` as "peak memory"."""
    return key.replace("_", " ").removesuffix(" seconds").removesuffix(" bytes")


def quantity(key: str, value: Any) -> str:
    """A figure with the unit that its key ends in: 1 h 02 min, 7 min 30 s, 1.4 s, 2.1 GB."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return clean(str(value))
    if key.endswith("seconds"):
        hours, minutes = int(value // 3600), int(value % 3600 // 60)
        if hours:
            return f"{hours} h {minutes:02d} min"
        return f"{minutes} min {int(value % 60):02d} s" if value >= 60 else f"{value:.1f} s"
    if key.endswith("bytes"):
        return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.1f} MB"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _cell(measured: dict[str, float] | None, name: str) -> dict[str, str] | None:
    if measured is None:
        return None
    return {
        "value": bare(name, measured["value"]),
        "interval": f"{bare(name, measured['low'])}–{bare(name, measured['high'])}",
    }


def _change(gap: dict[str, float] | None, name: str) -> dict[str, str] | None:
    """A difference with the word that says whether it is good: colour alone never does."""
    if gap is None:
        return None
    tone = "same"
    if gap["p"] < LEVEL:
        tone = "better" if (gap["value"] > 0) == METRICS[name].higher_is_better else "worse"
    said = {"better": "better", "worse": "worse", "same": "not significant"}[tone]
    interval = f"{bare(name, gap['low'], True)} to {bare(name, gap['high'], True)}"
    return {
        "value": bare(name, gap["value"], True),
        "interval": interval,
        "p": shown_p(gap["p"]),
        "tone": tone,
        "word": said,
    }


def _heat_map(part: Confusion, shares: Any) -> Markup:
    """(right, given) squares, shaded by the share of the right answer's rows; each says its figures when hovered."""
    cells = []
    for i, right in enumerate(part.right):
        for j, given in enumerate(part.given):
            if part.counts[i, j]:
                cells.append(
                    Markup('<rect class="{}" x="{}" y="{}" width="1" height="1" fill-opacity="{:.2f}"><title>{}</title></rect>').format(
                        "hit" if right == given else "miss", j, i, 0.15 + 0.85 * float(shares[i, j]),
                        f"{right} answered {given}: {part.counts[i, j]}",
                    )
                )  # fmt: skip
    told = f"Confusion of {len(part.right)} right answers (down) and the answers given (across); a diagonal means right"
    return Markup('<svg class="heat" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        len(part.given), len(part.right), told, Markup("").join(cells)
    )
