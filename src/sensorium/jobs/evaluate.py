"""``evaluate``: a finished run's metrics, on its own test rows or on other data with the same columns."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.data.checks.check import check
from sensorium.data.media import read_media
from sensorium.data.rows import Rows
from sensorium.data.schema import check_columns
from sensorium.data.splits import Splits
from sensorium.errors import DataError
from sensorium.evaluation.comparison import compare
from sensorium.evaluation.schema import validated
from sensorium.jobs.measure import predictions_of
from sensorium.jobs.opened import load, open_rows
from sensorium.jobs.prepare import Prepared, fixed_choice
from sensorium.run import Run
from sensorium.training.progress import make_progress


def evaluate(run: str | Path, data: str | None = None, progress: Any = None) -> dict[str, Any]:
    """What ``metrics.json`` says of the test rows, or the same measured on ``data``.

    The run's own test rows are not read again: their one measurement after training stands.

    Raises:
        RunError: no finished run is there.
        DataError: ``data`` lacks a column, or no row of it can be measured.
    """
    opened = Run.read(run)
    if data is None:
        return opened.metrics
    model = load(run)
    source = open_rows(data, model.recipe)
    check_columns(model.schema, source, need_target=True)
    reader = partial(read_media, root=source.root)
    report = check(source, model.schema, reader)
    rows = np.setdiff1d(np.arange(len(source)), np.array(sorted(report.quarantined), dtype=np.int64))
    if not len(rows):
        raise DataError("no row can be measured", where=str(data), mend="see sensorium data check")
    rows = fixed_choice(rows, model.recipe.evaluation.max_rows)
    progress = progress or make_progress()
    with progress.task("evaluating", len(rows), unit="rows") as advance:
        answers = model.answer(source, rows, advance)
    none = np.zeros(0, dtype=np.int64)
    prepared = Prepared(
        source, model.schema, report, Splits(none, none, rows, "all"), Rows(source, model.schema), reader
    )
    found = compare(
        None,
        predictions_of(prepared, answers),
        task=model.schema.task,
        split=Path(data).name,
        seed=model.recipe.training.seed,
        n_resamples=model.recipe.evaluation.bootstrap,
        cluster_name=model.schema.group or "cluster",
    )
    return validated(found)
