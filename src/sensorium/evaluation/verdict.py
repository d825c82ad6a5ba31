"""What the figures say, in plain sentences, the unwelcome ones included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sensorium.metrics.names import METRICS, PRIMARY

Tone = Literal["better", "same", "worse"]
LEVEL = 0.05


@dataclass(frozen=True)
class Finding:
    """One sentence of a verdict, whether it is good news, and the group of rows it speaks of ("" for all)."""

    tone: Tone
    text: str
    group: str = ""


def verdict(metrics: dict[str, Any]) -> list[str]:
    """The sentences of ``findings``."""
    return [finding.text for finding in findings(metrics)]


def findings(metrics: dict[str, Any]) -> list[Finding]:
    """Whether training helped, and what it lost to; from the content of ``metrics.json``.

    The primary metric comes first, then each baseline, then every metric that got significantly worse, then the groups
    in which training did not help or a baseline is ahead. "Significant" means p < 0.05, uncorrected.
    """
    primary = metrics.get("primary") or PRIMARY[metrics.get("kind", "text")]
    found = _against_before(metrics, primary)
    found += _against_baselines(metrics, primary)
    for name, gap in metrics.get("difference", {}).items():
        if name != primary and name != "perplexity" and gap["p"] < LEVEL and not _better(name, gap["value"]):
            found.append(Finding("worse", f"Worse than before in {label(name)}: {_change(metrics, name)}."))
    for column, groups in metrics.get("by", {}).items():
        for value, part in groups.items():
            if len(groups) > 1:
                parts = _against_before(part, primary)
                parts += [f for f in _against_baselines(part, primary) if f.tone == "worse"]
                where = f"{column} “{_short(value)}”"
                found += [Finding(f.tone, f"{where}: {f.text}", where) for f in parts if f.tone != "better"]
    return found


def label(name: str) -> str:
    """A metric's name as people read it."""
    return METRICS[name].label if name in METRICS else name


def number(name: str, value: float) -> str:
    """A value of metric ``name`` with its unit: 77.1 %, 41.2, 0.0312."""
    unit = METRICS[name].unit if name in METRICS else "plain"
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == "count":
        return bare(name, value)
    if unit == "decibels":
        return f"{value:.1f} dB"
    if unit == "points":
        return f"{value:.1f}"
    return bare(name, value) if abs(value) >= 1000 else f"{value:.4g}"


def bare(name: str, value: float, sign: bool = False) -> str:
    """The same without the unit, as short as it goes, for tables: 77.1, 41.2, 0.312."""
    unit = METRICS[name].unit if name in METRICS else "plain"
    plus = "+" if sign else ""
    if unit in ("share", "points", "decibels"):
        return f"{value * (100 if unit == 'share' else 1):{plus}.1f}"
    if unit == "count":
        return f"{value:{plus},.0f}" if abs(value) >= 100 else f"{value:{plus}.1f}"
    if 1000 <= abs(value) < 1e6:
        return f"{value:{plus},.0f}"
    if 0.1 <= abs(value) < 1000 or value == 0:
        return f"{value:{plus}.2f}"
    return f"{value:{plus}.3f}" if 0.002 <= abs(value) < 0.1 else f"{value:{plus}.3g}"


def _against_before(part: dict[str, Any], primary: str) -> list[Finding]:
    gap = part.get("difference", {}).get(primary)
    if gap is None:
        return []
    if gap["p"] >= LEVEL:
        tone, said = "same", "No significant change"
    else:
        tone, said = (
            ("better", "Better than before") if _better(primary, gap["value"]) else ("worse", "Worse than before")
        )
    return [Finding(tone, f"{said} in {label(primary)}: {_change(part, primary)}.")]  # type: ignore[arg-type]


def _change(part: dict[str, Any], name: str) -> str:
    gap = part["difference"][name]
    before, after = number(name, part["before"][name]["value"]), number(name, part["after"][name]["value"])
    points = " points" if METRICS[name].unit in ("share", "points") else ""
    low, high = bare(name, gap["low"], True), bare(name, gap["high"], True)
    return f"{before} → {after}, {bare(name, gap['value'], True)}{points} [{low}, {high}], {shown_p(gap['p'])}"


def _against_baselines(part: dict[str, Any], primary: str) -> list[Finding]:
    found, beaten = [], []
    for name, metrics in part.get("baselines", {}).items():
        if primary not in metrics or primary not in part["after"]:
            continue
        theirs, ours = metrics[primary]["value"], part["after"][primary]["value"]
        gap = part.get("against", {}).get(name, {}).get(primary)
        sure = f" ({shown_p(gap['p'])})" if gap else ""
        values = f"{number(primary, ours)} against {number(primary, theirs)}{sure}"
        if ours == theirs:
            found.append(Finding("same", f"No better than the {plain(name)} baseline in {label(primary)}: {values}."))
        elif not _better(primary, ours - theirs):
            found.append(Finding("worse", f"Loses to the {plain(name)} baseline in {label(primary)}: {values}."))
        elif gap and gap["p"] >= LEVEL:
            found.append(
                Finding("same", f"Not significantly ahead of the {plain(name)} baseline in {label(primary)}: {values}.")
            )
        else:
            beaten.append(f"{plain(name)} ({number(primary, theirs)})")
    if beaten:
        found.append(Finding("better", f"Ahead of {', '.join(beaten)} in {label(primary)}."))
    return found


def plain(name: str) -> str:
    """``linear_probe`` as "linear probe"."""
    return name.replace("_", " ")


def shown_p(p: float) -> str:
    """p with two digits: "p = 0.002"; 1 stays 1."""
    return f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"


def _better(name: str, gap: float) -> bool:
    return (gap > 0) == METRICS[name].higher_is_better and gap != 0


def _short(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
