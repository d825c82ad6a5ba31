"""``report.html``: one file that works offline, holds no script, and shows a hostile cell's text as text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sensorium.errors import MediaError
from sensorium.evaluation import page_parts
from sensorium.evaluation.confusion import Confusion
from sensorium.evaluation.embed import Budget, Media, embed
from sensorium.evaluation.verdict import findings

MEDIA_BYTES = 3_000_000  # of base64: the file stays small enough to mail
MAX_TEXT = 600  # characters of one cell


@dataclass(frozen=True)
class Sample:
    """One test row with both answers.

    Attributes:
        row: its number, or words that say where it is.
        inputs: column -> text, number, Media, or None where missing.
        target, before, after: the right answer and the two given; before is None where there was none.
        before_right, after_right: None where an answer is not simply right or wrong (numbers).
    """

    row: int | str
    inputs: dict[str, Any]
    target: Any
    before: Any
    after: Any
    before_right: bool | None = None
    after_right: bool | None = None


@dataclass(frozen=True)
class ReportInputs:
    """All that a report shows; what is empty is left out.

    Attributes:
        title: the page's heading.
        recipe_yaml: the whole recipe.
        metrics: the content of ``metrics.json``.
        history: of training: ``losses`` of (step, loss) or (step, loss, learning rate), ``validations`` of {"step",
            "epoch", "metrics"}, ``best`` {"metric", "value", "step"}, and scalars to show (steps, stop, …).
        confusion: title -> Confusion, as ``confusions`` gives it.
        samples: shown in the order given.
        data_report: ``rows``, ``findings`` of {"kind", "column", "count", "severity", "message"}, ``quarantined`` (a
            count, or a collection), ``splits`` {name: rows}.
        environment: versions, hardware, seeds; nested dicts are flattened.
        timings: label -> seconds where it ends in "seconds", bytes where it ends in "bytes", else shown as it is.
    """

    title: str
    recipe_yaml: str
    metrics: dict[str, Any]
    history: dict[str, Any] = field(default_factory=dict)
    confusion: dict[str, Confusion] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    data_report: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)


def report(inputs: ReportInputs, template: str = "report.html.j2", **more: Any) -> str:
    """The page as HTML text. It refers to nothing outside itself.

    Args:
        template: one that extends the report's own; more: what it shows beyond.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    metrics = inputs.metrics
    return environment.get_template(template).render(
        title=inputs.title,
        metrics=metrics,
        findings=findings(metrics),
        systems=page_parts.systems(metrics),
        results=page_parts.results(metrics),
        groups=page_parts.groups(metrics),
        charts=page_parts.charts(inputs.history),
        confusions=[page_parts.confusion_view(name, part) for name, part in inputs.confusion.items()],
        per_class=page_parts.per_class(metrics),
        samples=_cards(inputs.samples),
        data=page_parts.data_view(inputs.data_report),
        timings=[(page_parts.words(key), page_parts.quantity(key, value)) for key, value in inputs.timings.items()],
        recipe=inputs.recipe_yaml,
        environment=page_parts.flat(inputs.environment),
        **more,
    )


def choose_samples(
    before_right: Sequence[bool] | None, after_right: Sequence[bool], count: int = 24, seed: int = 0
) -> list[int]:
    """Positions of rows worth showing: those put right, put wrong, still wrong and still right, taken in turns.

    Args:
        before_right, after_right: n flags; the first is None where there was no model before.
        count: how many at most.
        seed: of the draw within each kind.
    """
    kinds: dict[tuple[bool, bool], list[int]] = {}
    for i, right in enumerate(after_right):
        kinds.setdefault((bool(before_right[i]) if before_right is not None else False, bool(right)), []).append(i)
    draw = random.Random(seed)
    queues = [kinds.get(kind, []) for kind in ((False, True), (True, False), (False, False), (True, True))]
    for queue in queues:
        draw.shuffle(queue)
    chosen: list[int] = []
    while len(chosen) < count and any(queues):
        chosen += [queue.pop() for queue in queues if queue]
    return chosen[:count]


def _cards(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    budget = Budget(MEDIA_BYTES)
    return [
        {
            "row": sample.row,
            "inputs": [
                cell(name, value, f"{name} of row {sample.row}", budget) for name, value in sample.inputs.items()
            ],
            "target": _text(sample.target),
            "answers": [
                (name, _text(answer), right)
                for name, answer, right in (
                    ("before", sample.before, sample.before_right),
                    ("after", sample.after, sample.after_right),
                )
                if name == "after" or answer is not None
            ],
        }
        for sample in samples
    ]


def cell(name: str, value: Any, alt: str, budget: Budget) -> dict[str, Any]:
    """One input: its kind, and a data: URL (read aloud as ``alt``) or a text."""
    if not isinstance(value, Media):
        return {"name": name, "kind": "text", "value": "(missing)" if value is None else _text(value)}
    try:
        url = budget.take(embed(value))
    except MediaError as error:
        return {"name": name, "kind": "text", "value": f"(cannot be shown: {error.what})"}
    if url is None:
        return {"name": name, "kind": "text", "value": f"({value.kind} left out to keep this page small)"}
    return {"name": name, "kind": value.kind, "value": url, "alt": alt}


def _text(value: Any) -> str:
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return shown if len(shown) <= MAX_TEXT else shown[: MAX_TEXT - 1] + "…"
