"""A table of answers, aligned and measured by the kind of its target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.errors import DataError
from sensorium.metrics import classification, generation, regression
from sensorium.metrics.names import Kind
from sensorium.metrics.statistic import Statistic

if TYPE_CHECKING:
    from sensorium.tasks.answers import Answers


@dataclass(frozen=True)
class Predictions:
    """Answers of one system to the rows of one split.

    Attributes:
        rows: (n,) int64 row numbers, each once.
        targets, predictions: n class names, numbers or texts; a target of None is unknown, a prediction of None
            means that this system has no answer to such a row.
        kind: of the target.
        probabilities: (n, classes) in the order of ``classes``, or None.
        classes: names of the classes, for a category.
        likelihoods: (n,) log P of the right answer in nats, NaN where unknown; tokens: (n,) its length.
        groups: column -> n values, by which results are also given.
        clusters: n labels of rows that belong together (a concept), or None.
    """

    rows: np.ndarray
    targets: Sequence[Any]
    predictions: Sequence[Any]
    kind: Kind
    probabilities: np.ndarray | None = None
    classes: Sequence[str] | None = None
    likelihoods: np.ndarray | None = None
    tokens: np.ndarray | None = None
    groups: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    clusters: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        lengths = {
            name: len(column)
            for name, column in {**self.__dict__, **self.groups}.items()
            if name not in ("kind", "classes", "groups") and column is not None
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns differ in length: {lengths}")
        if len(np.unique(np.asarray(self.rows))) != len(self.rows):
            raise ValueError("a row number occurs twice")
        if self.kind == "category" and self.classes is None:
            raise ValueError("a category needs its classes")

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def from_answers(
        cls,
        answers: Answers,
        kind: Kind,
        *,
        classes: Sequence[str] | None = None,
        groups: Mapping[str, Sequence[Any]] | None = None,
        clusters: Sequence[Any] | None = None,
    ) -> Predictions:
        """What a task's ``predict`` gave, with the columns to group and cluster by."""
        return cls(
            rows=np.asarray(answers.rows, dtype=np.int64),
            targets=answers.targets,
            predictions=answers.predictions,
            kind=kind,
            probabilities=answers.probabilities,
            classes=classes,
            likelihoods=answers.likelihoods,
            tokens=answers.tokens,
            groups=groups or {},
            clusters=clusters,
        )

    def take(self, positions: np.ndarray) -> Predictions:
        """The rows at ``positions`` (m,), in that order."""
        positions = np.asarray(positions)

        def choose(column: Any) -> Any:
            if column is None:
                return None
            return column[positions] if isinstance(column, np.ndarray) else [column[i] for i in positions.tolist()]

        columns = ("rows", "targets", "predictions", "probabilities", "likelihoods", "tokens", "clusters")
        return replace(
            self,
            **{name: choose(getattr(self, name)) for name in columns},
            groups={name: choose(column) for name, column in self.groups.items()},
        )

    def by_row(self) -> Predictions:
        """Sorted by row number, so that no result depends on the order in which answers came."""
        return self.take(np.argsort(self.rows, kind="stable"))

    def labelled(self) -> Predictions:
        """Without the rows whose right answer is unknown."""
        return self.take(np.array([i for i, target in enumerate(self.targets) if not _missing(target)], dtype=np.int64))

    def answers_all(self) -> bool:
        """Whether this system has an answer to every row."""
        return all(not _missing(prediction) for prediction in self.predictions)

    def encoded(self) -> tuple[np.ndarray, np.ndarray]:
        """Targets and predictions of a category as class numbers (n,), -1 for a class that is not in ``classes``."""
        number = {str(name): i for i, name in enumerate(self.classes or [])}
        targets, predicted = (
            np.array([number.get(str(value), number.get(_whole(value), -1)) for value in column], dtype=np.int64)
            for column in (self.targets, self.predictions)
        )
        # A predicted unknown must not count as a hit on an unknown target.
        return targets, np.where(predicted < 0, -2, predicted)

    def statistics(self) -> dict[str, Statistic]:
        """Every metric of this kind of target.

        Raises:
            DataError: there is no row, or a number that is not finite.
        """
        if not len(self):
            raise DataError("no rows with a known answer to measure", mend="give a split that has some")
        if self.kind == "category":
            targets, predicted = self.encoded()
            return classification.statistics(targets, predicted, probabilities=self.probabilities)
        if self.kind == "number":
            targets, predicted = (np.asarray(column, dtype=np.float64) for column in (self.targets, self.predictions))
            bad = ~(np.isfinite(targets) & np.isfinite(predicted))
            if bad.any():
                row = int(np.asarray(self.rows)[bad][0])
                raise DataError("target or prediction is not a finite number", where=f"row {row}", mend="mend that row")
            return regression.statistics(targets, predicted)
        said, right = ([str(value) for value in column] for column in (self.predictions, self.targets))
        return generation.statistics(said, right, self.likelihoods, self.tokens)

    def right(self) -> np.ndarray:
        """(n,) bool: which answers are right; of numbers, none is said to be."""
        if self.kind == "category":
            targets, predicted = self.encoded()
            return targets == predicted
        if self.kind == "text":
            pairs = zip(self.predictions, self.targets)
            return np.array([generation.normalise(p) == generation.normalise(t) for p, t in pairs], dtype=bool)
        return np.zeros(len(self), dtype=bool)


def align(systems: dict[str, Predictions]) -> dict[str, Predictions]:
    """All sorted by row and without unlabelled rows.

    Raises:
        DataError: they answer different rows, which makes no comparison.
    """
    aligned = {name: system.by_row().labelled() for name, system in systems.items()}
    (first, known), *others = aligned.items()
    for name, other in others:
        if not np.array_equal(known.rows, other.rows):
            raise DataError(f"{first} and {name} answer different rows", mend="measure both on the same rows")
        if list(map(str, known.targets)) != list(map(str, other.targets)):
            raise DataError(f"{first} and {name} disagree about the right answers", mend="use one table for both")
    return aligned


def _missing(value: Any) -> bool:
    return value is None or bool(value != value)  # NaN alone differs from itself


def _whole(value: Any) -> str:
    """3.0 as "3": a column with gaps turns integers into floats."""
    return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)
