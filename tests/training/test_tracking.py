"""Curves that go on after a resume."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sensorium.errors import RecipeError
from sensorium.training.tracking import NoTracker, open_tracker


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_resume_hides_what_a_killed_sitting_wrote_too_far(tmp_path: Path) -> None:
    first = open_tracker(["tensorboard"], tmp_path)
    for step in range(1, 6):
        first.log({"train/loss": float(step), "validation/loss": 1.0}, step)
    first.close()
    second = open_tracker(["tensorboard"], tmp_path, start_step=3)
    for step in (4, 5, 6):
        second.log({"train/loss": 10.0 * step}, step)
    second.close()
    assert points(tmp_path, "train/loss") == [(1, 1), (2, 2), (3, 3), (4, 40), (5, 50), (6, 60)]
    assert points(tmp_path, "validation/loss")[0] == (1, 1.0)


def test_wandb_absent_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RecipeError, match=r"^tracking: wandb is not installed; pip install 'sensorium\[track\]'"):
        open_tracker(["wandb"], tmp_path)
    with pytest.raises(RecipeError, match="unknown tracker mlflow; known: tensorboard, wandb"):
        open_tracker(["mlflow"], tmp_path)


def test_wandb_gets_finite_points_under_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self) -> None:
            self.settings: dict[str, object] = {}
            self.points: list[tuple[dict[str, float], int]] = []
            self.finished = False

        def init(self, **settings: object) -> Fake:
            self.settings = settings
            return self

        def log(self, values: dict[str, float], step: int) -> None:
            self.points.append((values, step))

        def finish(self) -> None:
            self.finished = True

    fake = Fake()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    tracker = open_tracker(["wandb"], tmp_path, run_id="emoji-1", config={"seed": 0})
    tracker.log({"train/loss": 1.0, "train/bad": float("nan")}, 3)
    tracker.close()
    assert fake.settings["id"] == "emoji-1" and fake.settings["resume"] == "allow"
    assert fake.points == [({"train/loss": 1.0}, 3)] and fake.finished


def test_none() -> None:
    tracker = open_tracker([], "nowhere")
    assert isinstance(tracker, NoTracker)
    tracker.log({"x": 1.0}, 1)
    tracker.close()
