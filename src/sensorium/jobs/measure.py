"""Answers to metrics: kept between sittings, compared before and after, beside simpler methods."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from sensorium.evaluation.baselines import Known, measure_baselines
from sensorium.evaluation.comparison import compare
from sensorium.evaluation.predictions import Predictions
from sensorium.evaluation.schema import validated
from sensorium.jobs.chats import ChatFeatures
from sensorium.jobs.features import row_summary
from sensorium.jobs.feed import FeatureOf
from sensorium.jobs.prepare import Prepared
from sensorium.recipe import Recipe
from sensorium.run import write_atomic
from sensorium.tasks.answers import Answers

MOST_VALUES = 12  # a column with at most so many values is one by which results are also given
PROBED_ROWS = 20_000  # training rows that baselines learn from at the most


def predictions_of(prepared: Prepared, answers: Answers) -> Predictions:
    """Answers with what is needed to measure them: their kind, groups and clusters."""
    schema = prepared.schema
    return Predictions.from_answers(
        answers,
        schema.target_kind,
        classes=schema.classes,
        groups=groups_of(prepared, answers.rows),
        clusters=prepared.cells(schema.group, answers.rows) if schema.group else None,
    )


def groups_of(prepared: Prepared, rows: np.ndarray) -> dict[str, list[Any]]:
    """Text and category inputs, and columns kept beside chats, with few values among ``rows``: results are given by them."""
    schema, columns = prepared.schema, prepared.source.table.column_names
    names = [name for name, kind in schema.inputs.items() if kind in ("text", "category")]
    found = {}
    for name in [*names, *(name for name in schema.by if name in columns)]:
        cells = ["" if cell is None else str(cell) for cell in prepared.cells(name, rows)]
        if 1 < len(set(cells)) <= MOST_VALUES:
            found[name] = cells
    return found


def measure(prepared: Prepared, answers: Answers) -> dict[str, float]:
    """Every metric of ``answers``."""
    return {
        name: statistic.value for name, statistic in predictions_of(prepared, answers).labelled().statistics().items()
    }


def baselines(
    prepared: Prepared, cached: Mapping[str, FeatureOf | ChatFeatures], validation: np.ndarray, like: Predictions
) -> tuple[dict[str, Predictions], list[str]]:
    """Majority, linear probe and nearest neighbour on the frozen features that the model had."""
    train = prepared.splits.train
    if len(train) > PROBED_ROWS:
        train = np.sort(np.random.default_rng(0).choice(train, PROBED_ROWS, replace=False))
    question = next(iter(like.groups), None) if like.kind == "text" else None
    taught, checked, tested = (
        _known(prepared, cached, rows, question) for rows in (train, validation, np.asarray(like.rows))
    )
    found = measure_baselines(taught, checked, tested, like)
    return found.predictions, found.notes


def _known(
    prepared: Prepared, cached: Mapping[str, FeatureOf | ChatFeatures], rows: np.ndarray, question: str | None
) -> Known:
    targets = (
        prepared.cells(str(prepared.schema.target), rows)
        if prepared.schema.target
        else [prepared.rows[int(r)].target for r in rows]
    )
    parts = []
    for name in sorted(cached):
        vectors = [None if v is None else v.numpy() for v in (row_summary(cached[name], int(row)) for row in rows)]
        width = next((len(v) for v in vectors if v is not None), 0)
        if width:
            parts.append(np.stack([np.full(width, np.nan, np.float32) if v is None else v for v in vectors]))
    numbers = [n for n, kind in prepared.schema.inputs.items() if kind == "number"]
    if numbers:
        columns = [[np.nan if cell is None else float(cell) for cell in prepared.cells(n, rows)] for n in numbers]
        parts.append(np.array(columns, dtype=np.float32).T)
    questions = [str(cell) for cell in prepared.cells(question, rows)] if question else None
    return Known(targets, np.concatenate(parts, 1) if parts else None, questions)


def metrics_of(
    prepared: Prepared,
    recipe: Recipe,
    before: Answers | None,
    after: Answers,
    cached: Mapping[str, FeatureOf | ChatFeatures],
    validation: np.ndarray,
) -> dict[str, Any]:
    """The content of ``metrics.json``."""
    tuned = predictions_of(prepared, after)
    others, notes = baselines(prepared, cached, validation, tuned) if recipe.evaluation.baselines else ({}, [])
    found = compare(
        predictions_of(prepared, before) if before is not None else None,
        tuned,
        others,
        task=prepared.schema.task,
        seed=recipe.training.seed,
        n_resamples=recipe.evaluation.bootstrap,
        cluster_name=prepared.schema.group or "cluster",
        notes=notes,
    )
    return validated(found)


# -- kept between sittings -------------------------------------------------------------------------


def keep_answers(path: Path, answers: Answers, seconds: float) -> None:
    """Write answers as Parquet; ``seconds`` is how long they took."""
    table = pa.table(
        {
            "row": answers.rows,
            "target": [_told(value) for value in answers.targets],
            "prediction": [_told(value) for value in answers.predictions],
            "probabilities": _list(answers.probabilities, len(answers.rows)),
            "confidence": answers.confidence,
            "likelihood": answers.likelihoods,
            "tokens": answers.tokens,
        }
    ).replace_schema_metadata({"seconds": json.dumps(seconds)})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    write_atomic(path, buffer.getvalue())


def read_answers(path: Path) -> tuple[Answers, float]:
    """What ``keep_answers`` wrote, and how long it took."""
    table = pyarrow.parquet.read_table(path)
    lists = table.column("probabilities").to_pylist()
    answers = Answers(
        rows=table.column("row").to_numpy(),
        targets=[_meant(text) for text in table.column("target").to_pylist()],
        predictions=[_meant(text) for text in table.column("prediction").to_pylist()],
        probabilities=None if not lists or lists[0] is None else np.array(lists, dtype=np.float32),
        confidence=table.column("confidence").to_numpy(),
        likelihoods=table.column("likelihood").to_numpy(),
        tokens=table.column("tokens").to_numpy(),
    )
    return answers, float(json.loads((table.schema.metadata or {}).get(b"seconds", b"0")))


def _told(value: Any) -> str:
    return json.dumps(value if value is None or isinstance(value, int | float) else str(value), ensure_ascii=False)


def _meant(text: str) -> Any:
    return json.loads(text)


def _list(probabilities: np.ndarray | None, count: int) -> pa.Array:
    values = [None] * count if probabilities is None else list(probabilities.astype(np.float32))
    return pa.array(values, pa.list_(pa.float32()))


def prediction_table(prepared: Prepared, before: Answers | None, after: Answers) -> bytes:
    """``predictions.parquet``: test rows with the answers before and after."""
    earlier = {int(row): i for i, row in enumerate(before.rows)} if before is not None else {}
    places = [earlier.get(int(row)) for row in after.rows]
    table = pa.table(
        {
            "row": after.rows,
            "place": [prepared.source.place(int(row)) for row in after.rows],
            "target": [None if t is None else str(t) for t in after.targets],
            "before": [None if before is None or p is None else str(before.predictions[p]) for p in places],
            "after": [str(p) for p in after.predictions],
            "probability_before": pa.array(
                [None if before is None or p is None else _number(before.confidence[p]) for p in places], pa.float64()
            ),
            "probability_after": pa.array([_number(v) for v in after.confidence], pa.float64()),
            "log_likelihood_before": pa.array(
                [None if before is None or p is None else _number(before.likelihoods[p]) for p in places], pa.float64()
            ),
            "log_likelihood_after": pa.array([_number(v) for v in after.likelihoods], pa.float64()),
        }
    )
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _number(value: float) -> float | None:
    return None if value != value else float(value)
