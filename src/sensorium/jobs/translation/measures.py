"""What a translator's test sentences are measured against, and those of a tuned GPT gathered from its answers."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sensorium.data.text.parallel_examples import DIRECTION, TEXT, TRANSLATION, source_of
from sensorium.evaluation.translation_baselines import copies, learn_dictionary, word_for_word
from sensorium.evaluation.translation_report import write_translation_report
from sensorium.evaluation.translation_table import TranslationMeasured, translation_metrics
from sensorium.jobs.prepare import Prepared
from sensorium.recipe import Recipe
from sensorium.run import Run, write_atomic, write_json
from sensorium.tasks.answers import Answers

Taught = Callable[[str], tuple[list[str], list[str]]]  # direction -> the training pairs' sources and targets


def simple_methods(directions: list[str], sources: list[str], taught: Taught) -> dict[str, list[str]]:
    """The sources as they are, and each word by the likeliest one that training pairs hold."""
    found = list(sources)
    for direction in dict.fromkeys(directions):
        places = [i for i, one in enumerate(directions) if one == direction]
        dictionary = learn_dictionary(*taught(direction), direction)
        told = word_for_word([sources[i] for i in places], dictionary, direction)
        for i, words in zip(places, told, strict=True):
            found[i] = words
    return {"copy": copies(sources), "word for word": found}


def write_predictions(run: Run, rows: np.ndarray, cases: TranslationMeasured) -> None:
    """``predictions.parquet``: a sentence a row, a system a column."""
    columns = {"row": rows, "direction": cases.directions, "source": cases.sources, "target": cases.references}
    said = {name.replace(" ", "_"): texts for name, texts in cases.systems.items()}
    write_atomic(run.folder / "predictions.parquet", parquet(columns | said))


def parquet(columns: dict[str, Any]) -> bytes:
    """A table of columns as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), sink)
    return sink.getvalue()


def gpt_cases(prepared: Prepared, before: Answers, after: Answers, baselines: bool) -> TranslationMeasured:
    """A tuned GPT's answers to test rows as translations."""
    rows, schema = after.rows, prepared.schema
    earlier = dict(zip(before.rows.tolist(), before.predictions, strict=True))

    def cells(column: str, rows: np.ndarray) -> list[str]:
        return list(prepared.source.table.column(column).take(pa.array(rows)).to_pylist())

    directions = cells(DIRECTION, rows)
    sources = [source_of(direction, text) for direction, text in zip(directions, cells(TEXT, rows), strict=True)]
    systems = {
        "before": [str(earlier[row] or "") for row in rows.tolist()],
        "after": [str(said or "") for said in after.predictions],
    }
    if baselines:
        train = prepared.splits.train
        of = np.array(cells(DIRECTION, train))

        def taught(direction: str) -> tuple[list[str], list[str]]:
            chosen = train[of == direction]
            return [source_of(direction, text) for text in cells(TEXT, chosen)], cells(TRANSLATION, chosen)

        systems |= simple_methods(directions, sources, taught)
    clusters = prepared.cells(schema.group, rows) if schema.group else None
    return TranslationMeasured(directions, sources, cells(TRANSLATION, rows), systems, clusters)


def finish_gpt(
    run: Run, recipe: Recipe, prepared: Prepared, before: Answers, after: Answers, began: float
) -> dict[str, Any]:
    """``metrics.json``, ``predictions.parquet`` and ``report.html`` of a tuned GPT that translates; the metrics."""
    cases = gpt_cases(prepared, before, after, recipe.evaluation.baselines)
    metrics = translation_metrics(cases, seed=recipe.training.seed, n_resamples=recipe.evaluation.bootstrap)
    write_json(run.folder / "metrics.json", metrics)
    write_predictions(run, after.rows, cases)
    history = run.read_json("history.json")
    write_translation_report(
        run.report,
        cases,
        metrics,
        history,
        title=run.folder.name,
        recipe_yaml=recipe.dump(),
        data_report=run.read_json("data_report.json"),
        environment=run.read_json("environment.json"),
        timings={"training seconds": history["seconds"], "whole job seconds": time.monotonic() - began},
    )
    return metrics
