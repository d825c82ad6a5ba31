"""What a checkpoint knows of the loop."""

from __future__ import annotations

import json

import pytest

from sensorium.errors import RunError
from sensorium.training.history import LoopState


def test_losses_are_thinned_to_means_and_survive_json() -> None:
    state = LoopState(plan={}, total=5003)
    seen = 0.0
    for step in range(1, 5004):
        state.step = step
        mean = state.note_loss(float(step))
        seen += float(step)
        if step == 3000:
            state = LoopState.from_dict(json.loads(json.dumps(state.to_dict())))
        assert (mean is None) == (step % 5 != 0 and step != 5003)
    assert len(state.losses) == 1001
    assert state.losses[0] == [5, 3.0] and state.losses[-1] == [5003, 5002.0]
    assert sum(mean * (5 if step < 5003 else 3) for step, mean in state.losses) == seen


def test_another_versions_state_is_refused() -> None:
    with pytest.raises(RunError, match="another version of Sensorium; add --fresh"):
        LoopState.from_dict({"plan": {}, "total": 1, "novel": 2})
