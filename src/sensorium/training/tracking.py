"""Curves: TensorBoard by default, Weights & Biases where asked. Tags group by what they measure (``train/…``, ``validation/…``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.errors import RecipeError
from sensorium.training.protocols import Tracker


class NoTracker:
    """Keeps nothing: processes other than the main one, and tests."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        pass

    def close(self) -> None:
        pass


class TensorBoard:
    """Event files in ``folder``. Points after ``start_step`` of an earlier, killed sitting are hidden (``purge_step``)."""

    def __init__(self, folder: str | Path, start_step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=start_step + 1 if start_step else None)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A Weights & Biases run; ``run_id`` makes a resume go on with the same curves."""

    def __init__(self, folder: str | Path, run_id: str, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            mend = "pip install 'sensorium[track]', or take wandb out"
            raise RecipeError("wandb is not installed", where="tracking", mend=mend) from None
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(project="sensorium", dir=str(folder), id=run_id, resume="allow", config=dict(config))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({tag: value for tag, value in values.items() if math.isfinite(value)}, step=step)

    def close(self) -> None:
        self._run.finish()


class Several:
    """All of several trackers."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for tracker in self._trackers:
            tracker.log(values, step)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()


def open_tracker(
    names: Sequence[str],
    folder: str | Path,
    start_step: int = 0,
    run_id: str = "run",
    config: Mapping[str, Any] | None = None,
) -> Tracker:
    """The trackers that the recipe names, writing under ``folder`` (the run's ``logs``). RecipeError where one is missing."""
    makers: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoard(folder, start_step),
        "wandb": lambda: WandB(folder, run_id, config or {}),
    }
    unknown = [name for name in names if name not in makers]
    if unknown:
        raise RecipeError(f"unknown tracker {unknown[0]}", where="tracking", mend=f"known: {', '.join(makers)}")
    return Several([makers[name]() for name in names]) if names else NoTracker()
