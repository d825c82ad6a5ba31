"""How many steps fit into the time that the recipe allows."""

from __future__ import annotations

from sensorium.training.history import LoopState

FIRST_LOOK = 10


def is_time_to_look(step: int) -> bool:
    """After 10, 20, 40, 80 … steps: soon enough to matter, seldom enough to keep the schedule smooth."""
    looks, rest = divmod(step, FIRST_LOOK)
    return rest == 0 and looks > 0 and looks & (looks - 1) == 0


def steps_that_fit(
    state: LoopState, seconds_per_step: float, steps_per_validation: int, limit: float, ceiling: int
) -> int:
    """Total steps such that training, its validations included, ends within ``limit`` seconds, ``ceiling`` at the most.

    Args:
        seconds_per_step: measured lately; the validations' cost is measured from ``state`` (nothing before the first).
    """
    runs = len(state.validations)
    validation = state.validation_seconds / runs if runs else 0.0
    left = limit - state.seconds - validation  # the last one
    per_step = seconds_per_step + validation / steps_per_validation
    return min(ceiling, max(state.step, state.step + int(left / max(per_step, 1e-9))))
