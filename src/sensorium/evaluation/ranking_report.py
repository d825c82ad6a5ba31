"""``report.html`` of a recommend run: the report of every task, with popularity and a few people in place of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.evaluation.charts import Line, line_chart
from sensorium.evaluation.embed import Budget, Media
from sensorium.evaluation.ranking_table import LIST, RankingMeasured, best_baseline
from sensorium.evaluation.report import MEDIA_BYTES, ReportInputs, cell, choose_samples, report
from sensorium.evaluation.table import clean, text
from sensorium.evaluation.verdict import bare, findings, plain
from sensorium.metrics.ranking import NEVER, gini
from sensorium.run import write_atomic

POINTS = 60  # of a curve


@dataclass(frozen=True)
class Suggestion:
    """An item of a list as people know it: its title, and its picture where it has one."""

    title: str
    picture: Media | None = None


@dataclass(frozen=True)
class Person:
    """One test case.

    Attributes:
        user: the data's own id. about: attributes in words, or "".
        history: titles of the last items, the latest at the end.
        recommended: the model's list, the best first.
        held_out: the title to be found; rank: its place among all items, from 1.
        place: its place within ``recommended``, from 0; None where it is not there.
    """

    user: str
    history: Sequence[str]
    recommended: Sequence[Suggestion]
    held_out: str
    rank: int
    place: int | None = None
    about: str = ""


def ranking_report(
    cases: RankingMeasured,
    metrics: dict[str, Any],
    history: dict[str, Any] | None = None,
    *,
    title: str,
    recipe_yaml: str = "",
    people: Sequence[Person] = (),
    data_report: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    timings: dict[str, Any] | None = None,
) -> str:
    """The page as HTML text; arguments as of ``ReportInputs``, and

    Args:
        cases: what ``metrics`` were made from.
        people: shown in the order given.
    """
    inputs = ReportInputs(
        title,
        recipe_yaml,
        metrics,
        history=history or {},
        data_report=data_report or {},
        environment=environment or {},
        timings=timings or {},
    )
    budget = Budget(MEDIA_BYTES)
    return report(
        inputs,
        "ranking.html.j2",
        popularity=_popularity(cases, metrics),
        people=[_card(person, budget) for person in people],
    )


def write_ranking_report(path: Path, cases: RankingMeasured, metrics: dict[str, Any], *args: Any, **named: Any) -> None:
    """Write ``ranking_report`` of the same arguments to ``path``, whole or not at all."""
    write_atomic(path, ranking_report(cases, metrics, *args, **named))


def choose_people(cases: RankingMeasured, count: int = 12, seed: int = 0) -> list[int]:
    """Positions of cases worth showing: those found among the first ten and those missed, in turns."""
    baseline = next((cases.ranks[name] for name in cases.baselines()), None)
    found = (np.asarray(cases.ranks["after"]) <= LIST).tolist()
    return choose_samples(None if baseline is None else (np.asarray(baseline) <= LIST).tolist(), found, count, seed)


def _popularity(cases: RankingMeasured, metrics: dict[str, Any]) -> dict[str, Any]:
    """Lorenz curves of interactions and of recommendations, and where recommendations go by popularity."""
    items = len(cases.popularity)
    consumed = np.asarray(cases.popularity, dtype=np.float64)
    counts = {"consumed in training": consumed}
    if "after" in cases.top:
        counts["recommended by the model"] = _counts(cases.top["after"], items)
    best = best_baseline(metrics)
    if best is not None and best in cases.top:
        counts[f"recommended by {plain(best)}"] = _counts(cases.top[best], items)
    counts = {name: of for name, of in counts.items() if of.any()}
    styles = dict(zip(counts, ("raw", "main", "second")))
    popular = np.argsort(-consumed, kind="stable")
    lorenz = [Line(name, _curve(np.sort(of)), styles[name]) for name, of in counts.items()]
    gathered = [Line(name, _curve(of[popular]), styles[name]) for name, of in counts.items()]
    charts = []
    for title, lines, across in (
        ("Lorenz curve: % of all, from the rarest item on", lorenz, "% of items, each from its own rarest"),
        ("% of all that the most consumed items have", gathered, "% of items, the most consumed first"),
    ):
        drawn = line_chart(title, lines, across)
        charts.append({"title": title, "svg": drawn, "legend": [(line.style, line.name) for line in lines]})
    told = "; ".join(f"{name} {gini(of):.2f}" for name, of in counts.items())
    return {"charts": charts, "told": f"Gini, 0 where all items have as much and 1 where one has all: {told}."}


def _counts(top: np.ndarray, items: int) -> np.ndarray:
    """(items,) how often each is in the first ten of a list."""
    first = np.asarray(top)[:, :LIST]
    return np.bincount(first[first >= 0], minlength=items).astype(np.float64)


def _curve(counts: np.ndarray) -> list[tuple[float, float]]:
    """Cumulated share in % over the share of items in %."""
    total = counts.sum()
    if not total:
        return []
    gathered = np.concatenate([[0.0], np.cumsum(counts) / total])
    places = np.unique(np.linspace(0, len(counts), min(POINTS, len(counts)) + 1).astype(int))
    return [(100.0 * i / len(counts), 100.0 * float(gathered[i])) for i in places.tolist()]


def _card(person: Person, budget: Budget) -> dict[str, Any]:
    shown = [
        {
            "title": item.title,
            "picture": None if item.picture is None else cell("picture", item.picture, "", budget),
            "held_out": i == person.place,
        }
        for i, item in enumerate(person.recommended)
    ]
    place = "never recommended" if person.rank >= NEVER else f"place {person.rank:,} of all"
    return {
        "user": person.user,
        "about": person.about,
        "history": list(person.history),
        "shown": shown,
        "held_out": person.held_out,
        "found": person.place is not None,
        "place": place,
    }


def summary(metrics: dict[str, Any]) -> str:
    """A line a system, and what the figures say, for a terminal of 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = {
        "hit_rate@10": "HR@10 %",
        "ndcg@10": "NDCG@10 %",
        "mrr@10": "MRR@10 %",
        "coverage": "cover %",
        "gini": "Gini",
    }
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(f"{metrics['split']} split, {metrics['rows']:,} cases")
    for heading in shown.values():
        table.add_column(heading, justify="right", no_wrap=True)
    systems = {"the model": metrics["after"]}
    if "before" in metrics:
        systems["untrained"] = metrics["before"]
    systems |= {plain(name): part for name, part in metrics.get("baselines", {}).items()}
    for name, part in systems.items():
        cells = []
        for key in shown:
            value = part.get(key)
            said = "–" if value is None else bare(key, value["value"])
            if value is not None and key == metrics["primary"]:
                said += f" [{bare(key, value['low'])}, {bare(key, value['high'])}]"
            cells.append(said)
        table.add_row(Text(clean(name)), *map(Text, cells))
    verdict = "".join(text(Text(f"• {finding.text}")) for finding in findings(metrics) if not finding.group)
    return text(table) + verdict
