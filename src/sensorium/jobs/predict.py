"""``predict``: answers for the rows of a file, written beside and renamed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from sensorium.data.checks.check import check
from sensorium.errors import DataError
from sensorium.jobs.opened import load, open_rows
from sensorium.jobs.ranking.lists import predict_lists
from sensorium.jobs.recommend import OpenedRecommender
from sensorium.run import Run, write_atomic
from sensorium.tasks.answers import Answers
from sensorium.training.progress import make_progress


def predict_file(run: str | Path, data: str, out: str | Path, progress: Any = None, top: int | None = None) -> int:
    """Answer every row of ``data`` and write ``out`` (csv, jsonl or parquet): row, prediction, probability, problem.

    A row that cannot be read has no prediction and says why. Of a run that recommends: ``top`` (10) items for the user of
    each row, as ``predict_lists`` writes them.

    Returns:
        How many rows were answered.
    """
    if Run.read(run).recipe.task == "recommend":
        return predict_lists(OpenedRecommender(run), data, out, 10 if top is None else top, progress)
    if top is not None:
        raise DataError("the run does not recommend", where="--top", mend="leave it out")
    model = load(run)
    source = open_rows(data, model.recipe)
    progress = progress or make_progress()
    from functools import partial

    from sensorium.data.media import read_media

    report = check(source, model.schema, partial(read_media, root=source.root), need_target=False)
    bad = {row: reason for row, (_, reason) in report.quarantined.items()}
    rows = np.array([row for row in range(len(source)) if row not in bad], dtype=np.int64)
    if not len(rows):
        raise DataError("no row can be answered", where=str(data), mend="see sensorium data check")
    with progress.task("predicting", len(rows), unit="rows") as advance:
        answers = model.answer(source, rows, advance)
    write_atomic(out, _encoded(answer_table(source.place, len(source), answers, bad), Path(out).suffix.lower()))
    return len(rows)


def answer_table(place: Any, count: int, answers: Answers, bad: dict[int, str]) -> pa.Table:
    """One line a row of the file, in its order."""
    at = {int(row): i for i, row in enumerate(answers.rows)}
    predictions = [answers.predictions[at[row]] if row in at else None for row in range(count)]
    confidence = [float(answers.confidence[at[row]]) if row in at else float("nan") for row in range(count)]
    columns: dict[str, Any] = {
        "row": list(range(count)),
        "place": [place(row) for row in range(count)],
        "prediction": predictions,
        "probability": [None if value != value else value for value in confidence],
        "problem": [bad.get(row) for row in range(count)],
    }
    types = {"probability": pa.float64(), "problem": pa.string()}
    return pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})


def _encoded(table: pa.Table, suffix: str) -> bytes:
    buffer = io.BytesIO()
    if suffix == ".parquet":
        pyarrow.parquet.write_table(table, buffer)
    elif suffix == ".csv":
        pyarrow.csv.write_csv(table, buffer)
    else:
        import json

        for row in table.to_pylist():
            buffer.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
    return buffer.getvalue()
