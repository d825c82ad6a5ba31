"""Which answers are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.evaluation.predictions import Predictions
from sensorium.metrics.classification import UNKNOWN, confusion
from sensorium.metrics.generation import normalise

MAX_CLASSES = 120  # more right answers than these are a vocabulary, not classes
OTHER = "(another answer)"


@dataclass(frozen=True)
class Confusion:
    """``counts`` (len(right), len(given)): rows whose right answer is right[i] and whose given answer is given[j]."""

    right: list[str]
    given: list[str]
    counts: np.ndarray

    def mistakes(self, limit: int = 10) -> list[tuple[str, str, int, float]]:
        """The most frequent confusions: right answer, answer given, rows, share of that right answer's rows."""
        found = [
            (right, given, int(count), float(count / self.counts[i].sum()))
            for i, right in enumerate(self.right)
            for j, given in enumerate(self.given)
            if (count := self.counts[i, j]) and right != given
        ]
        return sorted(found, key=lambda item: (-item[2], -item[3], item[0], item[1]))[:limit]


def confusions(predictions: Predictions, by: str | None = None) -> dict[str, Confusion]:
    """Title -> confusion: one for a category; of texts, one for each value of column ``by`` with few right answers."""
    known = predictions.by_row().labelled()
    if not len(known):
        return {}
    if known.kind == "category":
        classes = [str(name) for name in known.classes or []]
        if len(classes) > MAX_CLASSES:
            return {}
        counts = confusion(*known.encoded(), len(classes))
        return {"": Confusion(classes + [UNKNOWN] * (len(counts) - len(classes)), classes, counts)}
    if known.kind != "text":
        return {}
    cells = np.array([str(cell) for cell in known.groups[by]] if by else [""] * len(known), dtype=object)
    found = {label: of_texts(known.take(np.flatnonzero(cells == label))) for label in sorted(set(cells.tolist()))}
    return {label: part for label, part in found.items() if part is not None}


def of_texts(predictions: Predictions) -> Confusion | None:
    """Of answers in words, when there are 2 … ``MAX_CLASSES`` right ones, each twice on average; else None."""
    right = _displayed(predictions.targets)
    labels = sorted(set(right.values()))
    if not 2 <= len(labels) <= MAX_CLASSES or len(predictions) < 2 * len(labels):
        return None
    place = {label: i for i, label in enumerate(labels)}
    rows = np.array([place[right[normalise(str(target))]] for target in predictions.targets])
    said = [right.get(normalise(str(answer)), OTHER) for answer in predictions.predictions]
    columns = np.array([place.get(answer, len(labels)) for answer in said])
    width = len(labels) + int((columns == len(labels)).any())
    counts = np.bincount(rows * width + columns, minlength=len(labels) * width).reshape(len(labels), width)
    return Confusion(labels, labels + [OTHER] * (width - len(labels)), counts)


def _displayed(targets: Sequence[object]) -> dict[str, str]:
    """Normalised right answer -> the first way it is written."""
    shown: dict[str, str] = {}
    for target in targets:
        shown.setdefault(normalise(str(target)), str(target))
    return shown
