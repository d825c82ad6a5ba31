"""Where training is, and what it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


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
    losses: list[list[float]] = field(default_factory=list)  # [step, loss per item, learning-rate factor]
    validations: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class History:
    """What a finished training was.

    Attributes:
        steps, epochs: how many optimiser steps, and passes over the data (fractional).
        losses: (step, training loss per supervised item), at most about a thousand points.
        validations: ``{"step", "epoch", "metrics"}`` each.
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


def thin(losses: list[list[float]], limit: int = 1000) -> list[list[float]]:
    """Every second point once there are more than ``limit``, so that a long run's state stays small."""
    return losses[::2] if len(losses) > limit else losses
