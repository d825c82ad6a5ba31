"""``fit``: prepare, measure before, train, measure after, report. Each stage is kept, so the same call goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from sensorium.evaluation.summary import summarise
from sensorium.jobs.begun import announce_data, begun
from sensorium.jobs.drawing.fit import fit_drawer
from sensorium.jobs.drawing.tokenizer_fit import fit_tokenizer
from sensorium.jobs.job import Job
from sensorium.jobs.prepare import described, open_data, prepare
from sensorium.jobs.pretraining.fit import fit_pretraining
from sensorium.jobs.ranking.fit import fit_recommender
from sensorium.jobs.translation.fit import fit_translator
from sensorium.recipe import DataRecipe, Recipe
from sensorium.run import Run, write_json
from sensorium.training.distributed import make_accelerator
from sensorium.training.memory import give_back
from sensorium.training.precision import raise_malloc_thresholds
from sensorium.training.progress import make_progress

OWN = {  # tasks whose jobs have a shape of their own
    "recommend": fit_recommender,
    "pretrain": fit_pretraining,
    "tokenize": fit_tokenizer,
    "draw": fit_drawer,
}


@dataclass
class FitResult:
    """Where a fit's results are.

    Attributes:
        metrics: of ``metrics.json``, or of ``summary.json`` where several seeds ran.
        finished_before: whether there was nothing left to do.
    """

    folder: Path
    metrics: dict[str, Any]
    report: Path
    finished_before: bool


def infer_recipe(
    data: str | list[str],
    target: str | None,
    inputs: dict[str, str] | None,
    task: str,
    overrides: list[str],
    output: str | None,
) -> Recipe:
    """The recipe of ``sensorium fit --data … --target …``; the run goes to ``runs/<data>-<target>``."""
    raw: dict[str, Any] = {"task": task, "data": {"source": data, "target": target}, "output": output}
    recipe = Recipe.parse(raw, where="--data", overrides=overrides)
    if inputs:
        _, schema = open_data(recipe)
        raw["data"]["inputs"] = {**schema.inputs, **inputs}
        recipe = Recipe.parse(raw, where="--input", overrides=overrides)
    return recipe


def default_output(data: DataRecipe) -> str:
    """``runs/<data>-<target>``."""
    source = data.source if isinstance(data.source, str) else data.source[0]
    stem = Path(source).name.split(".")[0] or "data"
    return f"runs/{stem}-{data.target}" if data.target else f"runs/{stem}"


def fit(recipe: Recipe, *, fresh: bool = False, seeds: list[int] | None = None, progress: Any = None) -> FitResult:
    """Run ``recipe`` to its end, or go on where an earlier call stopped.

    Args:
        fresh: move an earlier run aside first.
        seeds: one run a seed (of training and of the split), in ``seed-N`` below the output, and ``summary.json``.
        progress: shows how far long work is; called with a line, it says it.

    Raises:
        SensoriumError: recipe, data or machine are not up to it, in one line.
        Interrupted: SIGINT or SIGTERM; a checkpoint was written.
    """
    progress = progress or make_progress()
    folder = Path(recipe.output or default_output(recipe.data))
    if not seeds:
        return _fit(recipe, folder, fresh, progress)
    results = []
    for seed in seeds:
        progress(f"seed {seed}")
        training = recipe.training.model_copy(update={"seed": seed})
        one = recipe.model_copy(update={"training": training, "data": _drawn(recipe.data, seed)})
        results.append(_fit(one, folder / f"seed-{seed}", fresh, progress))
    summary = summarise([result.metrics for result in results])
    write_json(folder / "summary.json", summary)
    return FitResult(folder, summary, results[-1].report, all(result.finished_before for result in results))


def _drawn(data: DataRecipe, seed: int) -> DataRecipe:
    """The same data, split by another seed."""
    changed: dict[str, Any] = {"split": data.split.model_copy(update={"seed": seed})}
    if data.interactions is not None:
        split = data.interactions.split.model_copy(update={"seed": seed})
        changed["interactions"] = data.interactions.model_copy(update={"split": split})
    return data.model_copy(update=changed)


def _fit(recipe: Recipe, folder: Path, fresh: bool, progress: Any) -> FitResult:
    other = OWN.get(recipe.task)
    if recipe.model.scratch is not None and recipe.task in ("auto", "generate"):
        other = fit_translator
    if other is not None:
        finished = Run(folder).done("reported") and not fresh
        run = Run(other(recipe, folder, fresh, progress))
        return FitResult(run.folder, run.metrics, run.report, finished)
    accelerator = make_accelerator(say=progress)
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        return _work(Run(folder), recipe, accelerator, make_progress(quiet=True))
    source, schema = open_data(recipe)
    described(recipe, schema)  # what is wrong is said before a folder is made or an earlier run moved
    with begun(folder, recipe, source.fingerprint, fresh, progress) as run:
        accelerator.wait_for_everyone()
        return _work(run, recipe, accelerator, progress)


def _work(run: Run, recipe: Recipe, accelerator: Accelerator, progress: Any) -> FitResult:
    if run.done("reported"):
        return FitResult(run.folder, run.metrics, run.report, True)
    began = time.monotonic()
    main = accelerator.is_main_process
    raise_malloc_thresholds()
    with accelerator.main_process_first():
        prepared = prepare(recipe, progress)
    give_back()
    recipe = described(recipe, prepared.schema)
    if recipe.translation is not None:
        asked = recipe.translation.model_copy(update={"directions": prepared.source.places.names})
        recipe = recipe.model_copy(update={"translation": asked})
    if main:
        announce_data(prepared, run, progress)
    with accelerator.main_process_first():
        job = Job.open(run, recipe, prepared, progress, accelerator)
    job.measure_before(early=True)
    history = job.train()
    if main:
        job.finish(history, began)
    accelerator.wait_for_everyone()
    return FitResult(run.folder, run.metrics, run.report, False)
