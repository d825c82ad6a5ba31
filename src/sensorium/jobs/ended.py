"""How a ``fit`` ends: report and card from what stands in the run's folder, and what only a resume needs removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sensorium.evaluation.report import ReportInputs
from sensorium.jobs.card import Made, made_card
from sensorium.recipe import Recipe
from sensorium.run import Run, write_atomic
from sensorium.training.checkpoint import Checkpoints


def ended(
    run: Run,
    recipe: Recipe,
    metrics: dict[str, Any],
    began: float,
    page: Callable[[ReportInputs], str],
    made: Made,
) -> None:
    """Write ``report.html`` and ``model/README.md``, and finish the run.

    Args:
        began: ``time.monotonic`` when the job began. page: from what every report shows to HTML.
    """
    seconds, history, found = time.monotonic() - began, run.read_json("history.json"), run.read_json("data_report.json")
    inputs = ReportInputs(
        run.folder.name,
        recipe.dump(),
        metrics,
        history=history,
        data_report=found,
        environment=run.read_json("environment.json"),
        timings={"training seconds": history["seconds"], "whole job seconds": seconds},
    )
    write_atomic(run.report, page(inputs))
    write_atomic(run.model / "README.md", made_card(made, metrics, found))
    run.finish("reported", seconds=seconds)
    Checkpoints(run.checkpoints).clear()
