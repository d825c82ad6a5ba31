"""``fit`` of task tokenize: pictures to a tokenizer that turns pictures into codes and back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from sensorium import assets
from sensorium.data.schema import require
from sensorium.data.sources import open_source
from sensorium.evaluation.embed import Media
from sensorium.evaluation.picture_report import Sheet, Shown, picture_report
from sensorium.evaluation.picture_table import Rebuilt, picture_metrics
from sensorium.jobs.begun import announce_data, begun, resumed, with_choice
from sensorium.jobs.card import LOADED, Made
from sensorium.jobs.drawing.pictures import Pictures, TrainingPictures, grouped
from sensorium.jobs.drawing.tokenizer_measures import (
    CODES,
    COMPARED_WITH,
    SUMMARY,
    SimpleRebuilders,
    by_tokenizer,
    measured,
    read,
    summaries,
    written,
)
from sensorium.jobs.drawing.tokenizer_parts import (
    build_picture_tokenizer,
    open_comparer,
    open_picture_tokenizer,
    shape_of,
)
from sensorium.jobs.ended import ended
from sensorium.jobs.prepare import Prepared, fixed_choice, prepare_unlabelled, unlabelled
from sensorium.jobs.surroundings import environment
from sensorium.metrics.pictures import code_perplexity, codes_used, frechet_distance
from sensorium.models.bars import without_bars
from sensorium.models.drawing.perceptual import Perceptual
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer
from sensorium.recipe import Recipe, TokenizerRecipe
from sensorium.run import Run, folder_beside, write_atomic, write_json
from sensorium.tasks.tokenize import Taught, Tokenize
from sensorium.training.averaging import Averaged
from sensorium.training.batches import BatchPlan, PlannedLoader, micro_batch_size
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.distributed import make_accelerator
from sensorium.training.history import History
from sensorium.training.loop import Metric, planned_steps, train
from sensorium.training.memory import give_back
from sensorium.training.precision import choose, raise_malloc_thresholds
from sensorium.training.progress import make_progress
from sensorium.training.tracking import open_tracker

SHOWN = 48  # pictures of the report's sheet
Columns = dict[str, np.ndarray]


def fit_tokenizer(recipe: Recipe, folder: Path, fresh: bool, progress: Any) -> Path:
    """Run ``recipe`` to its end in ``folder``, or go on where an earlier call stopped.

    Raises:
        SensoriumError: recipe or data are not up to it, in one line.
        Interrupted: SIGINT or SIGTERM; a checkpoint was written.
    """
    asked = recipe.tokenizer or TokenizerRecipe()
    recipe = recipe.model_copy(update={"tokenizer": asked})
    accelerator = make_accelerator(say=progress)
    source = open_source(recipe.data, assets.cache_root() / "tables")
    require(asked.picture, source.table.column_names, "tokenizer.picture")
    schema = unlabelled(source, recipe, {asked.picture: "image"})
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        progress = make_progress(quiet=True)
        _work(Run(folder), recipe, prepare_unlabelled(recipe, source, schema, progress), accelerator, progress)
        return folder
    with begun(folder, recipe, source.fingerprint, fresh, progress) as run:
        accelerator.wait_for_everyone()
        if not run.done("reported"):
            _work(run, recipe, prepare_unlabelled(recipe, source, schema, progress), accelerator, progress)
    return folder


@dataclass
class Tokenizing:
    """One run with its parts built. ``perceptual``: what compares pictures, in fp32; None without an image encoder."""

    run: Run
    recipe: Recipe
    asked: TokenizerRecipe
    pictures: Pictures
    model: PictureTokenizer
    perceptual: Perceptual | None
    accelerator: Accelerator
    progress: Any

    def rows(self, part: str) -> np.ndarray:
        """Rows of the table that are trained on, chosen on or reported on."""
        evaluation = self.recipe.evaluation
        most = {"validation": evaluation.validation_rows, "test": evaluation.max_rows}
        rows: np.ndarray = getattr(self.pictures.prepared.splits, part)
        return fixed_choice(rows, most.get(part, len(rows)))

    def measure(self, when: str) -> Columns:
        """Figures of each test picture, measured once and kept."""
        path = self.run.folder / f"measured_{when}.parquet"
        if not path.exists():
            self.run.log(f"test split read: {when} training, {len(self.rows('test'))} pictures")
            write_atomic(path, written(self._measured(by_tokenizer(self.model), f"rebuilding {when} training")))
        if not self.run.done(f"measured_{when}"):
            self.run.finish(f"measured_{when}", rows=len(self.rows("test")))
        return read(path)

    def _measured(self, rebuild: Any, what: str) -> Columns:
        rows, size = self.rows("test"), self.recipe.evaluation.batch_size
        with self.progress.task(what, len(rows), unit="pictures") as advance:
            return measured(rebuild, self.pictures, rows, self.perceptual, size, advance)

    def train(self, dtype: torch.dtype) -> History:
        """Train the model; the average weights with the best PSNR on validation pictures stay in it."""
        recipe, training = self.recipe, self.recipe.training
        rows = self.rows("train")
        units = TrainingPictures(self.pictures, rows, training.seed, self.asked.augment)
        micro = micro_batch_size(training.batch_size, training.micro_batch_size, self.accelerator.num_processes)
        plan = BatchPlan(np.ones(len(units), dtype=np.int32), training.batch_size, micro, training.seed)
        comparer = open_comparer(recipe, dtype) if self.asked.perceptual else None
        whole = Averaged(Taught(self.model, self.asked, comparer).to(dtype), self.asked.average)
        weights = sum(p.numel() for p in self.model.parameters())
        self.progress(
            f"{weights:,} parameters in {training.precision}, {len(units):,} pictures an epoch, "
            f"{planned_steps(training, plan.steps):,} steps of {training.batch_size}"
        )
        task, chosen_on = Tokenize(), self.rows("validation")

        def validated() -> dict[str, float]:
            with whole.averaged(), self.progress.task("validating", len(chosen_on), unit="pictures") as advance:
                found = measured(by_tokenizer(self.model), self.pictures, chosen_on, None, micro, advance)
            figures = {"psnr": float(found["psnr"].mean())}
            return figures | {"codes_used": codes_used(found[CODES], self.model.codebook_size).value}

        history = train(
            whole,
            task,
            PlannedLoader(units, task.collate, plan, training.workers),
            validated if len(chosen_on) else None,
            training,
            accelerator=self.accelerator,
            checkpoints=Checkpoints(self.run.checkpoints, say=self.progress),
            tracker=lambda step: open_tracker(
                recipe.tracking, self.run.logs, step, self.run.folder.name, recipe.model_dump(mode="json")
            ),
            progress=self.progress,
            metric=Metric("psnr", higher_is_better=True),
            updated=whole.update,
            say=self.progress,
        )
        whole.float()
        whole.take()
        return history

    def save(self, history: History) -> None:
        """``model/``, for drawing to start from."""
        self.model.to("cpu").eval()
        with folder_beside(self.run.model) as folder, without_bars():
            self.model.save_pretrained(folder)
        write_json(self.run.folder / "history.json", history.to_dict())
        self.run.finish("trained", seconds=history.seconds)

    def finish(self, before: Columns, after: Columns, began: float) -> None:
        """Compare, report, and remove what only a resume needs."""
        run, evaluation, rows = self.run, self.recipe.evaluation, self.rows("test")
        simple: dict[str, Columns] = {}
        if evaluation.baselines:
            methods = SimpleRebuilders.of(self.pictures, self.rows("train"), evaluation.batch_size).methods()
            simple = {name: self._measured(rebuild, name.replace("_", " ")) for name, rebuild in methods.items()}
        metrics = picture_metrics(
            self._rebuilt(before),
            self._rebuilt(after),
            {name: self._rebuilt(columns) for name, columns in simple.items()},
            seed=self.recipe.training.seed,
            n_resamples=evaluation.bootstrap,
            notes=[*self._frechet({"before": before, "after": after, **simple}), self._codebook()],
        )
        write_json(run.folder / "metrics.json", metrics)
        told = {
            f"{name}_{when}": values
            for when, columns in (("before", before), ("after", after))
            for name, values in columns.items()
            if values.ndim == 1
        }
        write_atomic(run.folder / "predictions.parquet", written({"row": rows, **told, CODES: after[CODES]}))
        sheet = self._sheet(rows, after["psnr"])
        ended(run, self.recipe, metrics, began, lambda inputs: picture_report(inputs, [sheet]), self._made())

    def _made(self) -> Made:
        asked, size = self.asked, self.model.size
        return Made(
            f"Codes of {asked.picture}, from {self.pictures.prepared.source.name}",
            f"A convolutional tokenizer turns a picture of {size} × {size} pixels into {asked.codes} codes of a codebook of "
            f"{self.model.codebook_size:,} and back; made from nothing by Sensorium.",
            "image-tokenizer",
            {},
            [f"- {asked.picture}: image"],
            [*LOADED, "codes = model.encode(pictures)   # (batch, 3, size, size) in [-1, 1]", "model.decode(codes)"],
        )

    def _rebuilt(self, columns: Columns) -> Rebuilt:
        figures = {name: values for name, values in columns.items() if name not in (CODES, SUMMARY)}
        grouping = grouped(self.pictures.prepared, self.rows("test"))
        return Rebuilt(figures, columns.get(CODES), self.model.codebook_size, *grouping)

    def _frechet(self, systems: dict[str, Columns]) -> list[str]:
        """What lies between the features of the test pictures and of what each system made of them."""
        rows = self.rows("test")
        if self.perceptual is None or len(rows) < 2:
            return []
        real = summaries(self.pictures, rows, self.perceptual, self.recipe.evaluation.batch_size)
        told = [f"{name.replace('_', ' ')} {frechet_distance(real, of[SUMMARY]):,.0f}" for name, of in systems.items()]
        return [
            f"Fréchet distance to the {len(rows):,} test pictures, on {real.shape[1]} features of "
            f"{self.recipe.model.image} (means over places of its first four resolutions): {', '.join(told)}."
        ]

    def _codebook(self) -> str:
        """How much of the codebook training pictures use: what is chosen from there when pictures are drawn."""
        rows, size = fixed_choice(self.rows("train"), COMPARED_WITH), self.recipe.evaluation.batch_size
        rebuild = by_tokenizer(self.model)
        batches = self.pictures.batches(rows, size)
        codes = np.concatenate([found for _, found in map(rebuild, batches) if found is not None])
        book = self.model.codebook_size
        used, perplexity = codes_used(codes, book).value, code_perplexity(codes, book).value
        return f"{len(rows):,} training pictures use {100 * used:.1f} % of the {book:,} codes, perplexity {perplexity:,.0f}."

    def _sheet(self, rows: np.ndarray, quality: np.ndarray) -> Sheet:
        """Pictures from the worst to the best rebuilt, at equal distances."""
        order = np.argsort(quality, kind="stable")
        places = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int)]
        names = self.pictures.prepared.source.table.column_names
        shown = []
        for place in places:
            row = int(rows[place])
            picture = self.pictures[row]
            made, _ = by_tokenizer(self.model)(picture[None])
            name = str(self.pictures.prepared.source.table.column("name")[row]) if "name" in names else f"row {row}"
            pair = [("picture", Media("image", picture)), ("rebuilt", Media("image", made[0]))]
            shown.append(Shown(f"{name}, {quality[place]:.1f} dB", pair))
        lead = (
            "Test pictures and what came back from their codes, from the worst to the best by PSNR, at equal distances."
        )
        return Sheet("Pictures rebuilt", lead, shown)


def _work(run: Run, recipe: Recipe, prepared: Prepared, accelerator: Accelerator, progress: Any) -> None:
    began, main, asked = time.monotonic(), accelerator.is_main_process, recipe.tokenizer
    assert asked is not None
    raise_malloc_thresholds()
    recipe = resumed(run, recipe)
    micro = micro_batch_size(recipe.training.batch_size, recipe.training.micro_batch_size, accelerator.num_processes)
    with accelerator.main_process_first():
        choice = choose(shape_of(asked, micro), assets.cache_root() / "machine", recipe.training.precision, "eager")
        perceptual = open_comparer(recipe)
    recipe = with_choice(recipe, choice)
    pictures = Pictures(prepared, asked.picture, asked.size)
    model = build_picture_tokenizer(asked, recipe.training.seed)
    job = Tokenizing(run, recipe, asked, pictures, model, perceptual, accelerator, progress)
    before: Columns = {}
    if main:
        run.write_recipe(recipe)
        write_json(run.folder / "environment.json", environment(recipe, prepared.source.fingerprint, choice))
        announce_data(prepared, run, progress, task=False)
        before = job.measure("before")
    if not run.done("trained"):
        give_back()
        history = job.train(choice.dtype)
        if main:
            job.save(history)
    elif main:
        job.model = open_picture_tokenizer(str(run.folder))
    if main:
        job.finish(before, job.measure("after"), began)
    accelerator.wait_for_everyone()
