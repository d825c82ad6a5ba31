"""``report.html`` of a run: what ``evaluation.report`` shows, gathered."""

from __future__ import annotations

from typing import Any

from sensorium.errors import SensoriumError
from sensorium.evaluation.confusion import confusions
from sensorium.evaluation.embed import Media
from sensorium.evaluation.predictions import Predictions
from sensorium.evaluation.report import ReportInputs, Sample, choose_samples, report
from sensorium.jobs.measure import predictions_of
from sensorium.jobs.prepare import Prepared
from sensorium.recipe import Recipe
from sensorium.run import Run, write_atomic
from sensorium.tasks.answers import Answers

SHOWN = 24  # samples


def write_report(
    run: Run, recipe: Recipe, prepared: Prepared, before: Answers, after: Answers, timings: dict[str, Any]
) -> None:
    """Write ``report.html`` beside and rename it."""
    earlier, tuned = predictions_of(prepared, before).by_row(), predictions_of(prepared, after).by_row()
    history = run.read_json("history.json")
    page = report(
        ReportInputs(
            title=run.folder.name,
            recipe_yaml=recipe.dump(),
            metrics=run.metrics,
            history=history,
            confusion=confusions(tuned, by=next(iter(tuned.groups), None)),
            samples=samples(prepared, earlier, tuned),
            data_report=run.read_json("data_report.json"),
            environment=run.read_json("environment.json"),
            timings={**timings, "training seconds": history["seconds"], "peak memory bytes": history["peak_memory"]},
        )
    )
    write_atomic(run.report, page)


def samples(prepared: Prepared, before: Predictions, after: Predictions) -> list[Sample]:
    """Rows put right, put wrong, still wrong and still right, in turns."""
    was, now = before.right(), after.right()
    numbers = after.kind == "number"
    return [
        Sample(
            row=prepared.source.place(int(after.rows[i])),
            inputs=_inputs(prepared, int(after.rows[i])),
            target=after.targets[i],
            before=before.predictions[i],
            after=after.predictions[i],
            before_right=None if numbers else bool(was[i]),
            after_right=None if numbers else bool(now[i]),
        )
        for i in choose_samples(was.tolist(), now.tolist(), SHOWN)
    ]


def _inputs(prepared: Prepared, row: int) -> dict[str, Any]:
    example = prepared.rows[row]
    if prepared.schema.messages:
        return {f"{i + 1} {message.role}": message.text for i, message in enumerate(example.inputs["messages"])}
    kinds = prepared.schema.inputs
    return {name: _cell(prepared, kinds[name], cell) for name, cell in example.inputs.items()}


def _cell(prepared: Prepared, kind: str, cell: Any) -> Any:
    if cell is None or kind not in ("image", "audio"):
        return cell
    try:
        return Media("image" if kind == "image" else "audio", prepared.read_media(cell))
    except SensoriumError as error:
        return f"(cannot be shown: {error.what})"
