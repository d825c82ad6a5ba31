"""Where training is, and what it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from sensorium.errors import RunError


@dataclass
class LoopState:
    """All that a resume needs beside weights and moments; JSON in each checkpoint.

    ``step`` steps are done of ``total``, which ``max_minutes`` may have shortened. ``seconds`` counts all processes that
    worked on this run one after the other.
    """

    plan: dict[str, int]
    total: int
    step: int = 0
    validated: int = 0  # the step after which the last validation ran
    stale: int = 0  # validations without gain
    best: float | None = None
    best_step: int | None = None
    stop: str | None = None
    seconds: float = 0.0
    step_seconds: float = 0.0
    validation_seconds: float = 0.0
    rows: int = 0
    peak_memory: int = 0
    losses: list[list[float]] = field(default_factory=list)  # [step, mean loss since the point before]
    window: list[float] = field(default_factory=lambda: [0.0, 0.0])  # sum and number of losses since the last point
    validations: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LoopState:
        """What ``to_dict`` gave; RunError where another version of the program wrote it."""
        try:
            return cls(**values)
        except TypeError:
            raise RunError("the checkpoint was written by another version of Sensorium", mend="add --fresh") from None

    def note_loss(self, loss: float, points: int = 1000) -> float | None:
        """Take in the latest step's loss; the mean since the last point where it is time for one, else None."""
        self.window = [self.window[0] + loss, self.window[1] + 1]
        if self.step % max(1, self.total // points) and self.step < self.total:
            return None
        mean = self.window[0] / self.window[1]
        self.losses.append([self.step, mean])
        self.window = [0.0, 0.0]
        return mean


@dataclass(frozen=True)
class History:
    """What a finished training was.

    Attributes:
        steps, epochs: how many optimiser steps, and passes over the data (fractional).
        losses: (step, training loss per supervised item), about a thousand points at the most, each a mean since the last.
        validations: ``{"step", "epoch", "seconds", "metrics"}`` each; seconds of training until then, over all sittings.
        best: ``{"metric", "value", "step"}`` of the weights that are now in the model; None without validation.
        seconds: wall time over all sittings; ``samples_per_second`` counts rows over the steps alone.
        peak_memory: bytes; resident set on CPU, allocated on a GPU.
        stop: why it ended: "finished", "patience" or "time".
    """

    steps: int
    epochs: float
    losses: list[tuple[int, float]]
    validations: list[dict[str, Any]]
    best: dict[str, Any] | None
    seconds: float
    samples_per_second: float
    peak_memory: int
    stop: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
