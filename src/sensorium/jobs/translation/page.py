"""The report of a translator's run, from what stands in its folder: written at the end of a fit, and again after probing."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from sensorium.data.media import read_media
from sensorium.data.text.parallel_corpus import ParallelCorpus
from sensorium.errors import MediaError
from sensorium.evaluation.embed import Media
from sensorium.evaluation.translation_report import choose_translations, write_translation_report
from sensorium.evaluation.translation_table import TranslationMeasured
from sensorium.recipe import Recipe
from sensorium.run import Run

PROBE = "probe.json"
COLUMNS = ("row", "direction", "source", "target")  # of predictions.parquet; the others are systems


def answered(run: Run, corpus: ParallelCorpus) -> tuple[TranslationMeasured, list[int]]:
    """What ``predictions.parquet`` holds, and the rows of the table that its sentences are of."""
    table = pq.read_table(run.folder / "predictions.parquet")
    rows = table.column("row").to_pylist()
    systems = {
        name.replace("_", " "): table.column(name).to_pylist() for name in table.column_names if name not in COLUMNS
    }
    directions, sources, targets = (table.column(name).to_pylist() for name in COLUMNS[1:])
    clusters = corpus.clusters(table.column("row").to_numpy())
    by = corpus.table.defaults.get("by", [])
    groups = {name: corpus.table.table.column(name).take(table.column("row")).to_pylist() for name in by}
    return TranslationMeasured(directions, sources, targets, systems, clusters, groups), rows


def write_page(run: Run, recipe: Recipe, corpus: ParallelCorpus, seconds: float) -> None:
    """``report.html``; of the probing protocol what ``probe.json`` says, where it is there.

    Args:
        seconds: of the whole job.
    """
    cases, rows = answered(run, corpus)
    history = run.read_json("history.json")
    probe = run.read_json(PROBE) if (run.folder / PROBE).exists() else None
    shown = {i: _picture(corpus, rows[i]) for i in choose_translations(cases)}
    write_translation_report(
        run.report,
        cases,
        run.metrics,
        history,
        title=run.folder.name,
        recipe_yaml=recipe.dump(),
        pictures={i: picture for i, picture in shown.items() if picture is not None},
        probe=probe,
        data_report=run.read_json("data_report.json"),
        environment=run.read_json("environment.json"),
        timings={"training seconds": history["seconds"], "whole job seconds": seconds},
    )


def _picture(corpus: ParallelCorpus, row: int) -> Media | None:
    """The picture of a row of the table; None where it has none, or one that cannot be read."""
    if corpus.picture is None:
        return None
    cell: Any = corpus.table.table.column(corpus.picture)[row].as_py()
    try:
        return None if cell is None else Media("image", read_media(cell, corpus.table.root))
    except MediaError:
        return None
