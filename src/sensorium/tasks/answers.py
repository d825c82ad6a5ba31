"""What every task speaks: the loss it returns, the feed it asks for batches, the answers it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sensorium.data.collate import Batch
from sensorium.data.rows import Example
from sensorium.objectives.loss import Loss

__all__ = ["Answers", "Feed", "Loss", "Progress"]

Progress = Callable[[int], None]  # called with the number of rows just finished


class Feed(Protocol):
    """Gives batches of a table's rows, with whatever is cached."""

    def example(self, row: int) -> Example: ...

    def groups(self, rows: list[int]) -> list[list[int]]:
        """Rows that may share one sequence."""
        ...

    def batches(self, groups: list[list[int]], **options: Any) -> Iterator[Batch]:
        """Batches of about equal cost over all groups, in order; options as of ``Processor.sequence``."""
        ...


@dataclass
class Answers:
    """Answers to a table's rows.

    Attributes:
        rows: (n,) row numbers; targets, predictions: n values (None where unknown).
        probabilities: (n, classes) of a classifier, else None.
        confidence: (n,) probability of the answer given, NaN where none is known.
        likelihoods: (n,) log P of the right answer in nats, NaN where unknown; tokens: (n,) its length.
    """

    rows: np.ndarray
    targets: list[Any]
    predictions: list[Any]
    probabilities: np.ndarray | None
    confidence: np.ndarray
    likelihoods: np.ndarray
    tokens: np.ndarray
