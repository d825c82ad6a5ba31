"""What the training loop asks of the parts that are handed to it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from sensorium.training.batches import BatchPlan

Say = Callable[[str], None]


@dataclass(frozen=True)
class Loss:
    """A loss before division: ``total`` is a scalar sum over ``count`` supervised items (tokens, rows)."""

    total: Tensor
    count: int


class LossLike(Protocol):
    """Anything with the two attributes of ``Loss``."""

    @property
    def total(self) -> Tensor: ...

    @property
    def count(self) -> int: ...


class Batch(Protocol):
    """What a step runs on; ``rows`` are the table's row numbers in it."""

    rows: list[int]


class Task(Protocol):
    """Turns a batch into a loss.

    ``model`` is the thing to call; with several processes it is DistributedDataParallel around the built model, so a
    task calls it once (``model(**inputs)``) and reads none of its attributes. Randomness in the forward pass comes from
    torch's default generator, which the loop seeds anew for every micro-batch.
    """

    def loss(self, model: Any, batch: Any) -> LossLike: ...


class Loader(Protocol):
    """Gives batches by plan. See ``Batch``."""

    @property
    def plan(self) -> BatchPlan: ...

    def load(self, epoch: int, micro_batches: Iterable[np.ndarray]) -> Generator[Batch, None, None]: ...


class Tracker(Protocol):
    """Keeps curves."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class Advance(Protocol):
    """Moves a progress bar on by ``count`` and shows ``facts`` beside it; ``total`` changes its length."""

    def __call__(self, count: int = 1, *, total: int | None = None, **facts: float | str) -> None: ...


class Progress(Protocol):
    """Shows how far long work is; called with a line, it says it."""

    def __call__(self, text: str) -> None: ...

    def task(self, name: str, total: int, done: int = 0, unit: str = "") -> AbstractContextManager[Advance]: ...


@dataclass(frozen=True)
class Metric:
    """The validation figure that chooses the best weights and stops early."""

    name: str = "loss"
    higher_is_better: bool = False

    def better(self, value: float, best: float | None) -> bool:
        """Whether ``value`` beats ``best``; NaN never does."""
        if value != value:
            return False
        return best is None or (value > best if self.higher_is_better else value < best)
