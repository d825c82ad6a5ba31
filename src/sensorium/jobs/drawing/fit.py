"""``fit`` of task draw: words and pictures to a GPT that draws, edits and captions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from sensorium.evaluation.picture_report import picture_report
from sensorium.evaluation.picture_table import Foretold, picture_metrics
from sensorium.jobs.begun import announce_data, begun, resumed, with_choice
from sensorium.jobs.card import LOADED, Made
from sensorium.jobs.drawing.drawn_measures import Gallery, drawn, nearest_named, notes
from sensorium.jobs.drawing.learnt import save_learnt
from sensorium.jobs.drawing.lessons import (
    Lesson,
    TrainingLessons,
    drawing_source,
    learnable,
    lessons_of,
    open_drawing_table,
    picture_codes,
    placings_of,
    read_features,
)
from sensorium.jobs.drawing.measures import Columns, losses, measured, nearest_captions, unigram
from sensorium.jobs.drawing.parts import build_drawing_model, open_drawing_model, save_drawing_model, text_of, word_ids
from sensorium.jobs.drawing.pictures import Pictures, grouped
from sensorium.jobs.drawing.sheet import drawn_sheet, settings_of
from sensorium.jobs.drawing.tokenizer_measures import SUMMARY, read, written
from sensorium.jobs.drawing.tokenizer_parts import open_comparer, open_picture_tokenizer
from sensorium.jobs.ended import ended
from sensorium.jobs.parts import trainable_parameters
from sensorium.jobs.prepare import Prepared, fixed_choice
from sensorium.jobs.pretraining.parts import Start, choose_speed, open_start
from sensorium.jobs.surroundings import environment
from sensorium.models.bars import without_bars
from sensorium.models.drawing.drawing_gpt import DrawingGPT
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer
from sensorium.recipe import DrawingRecipe, Recipe
from sensorium.run import Run, folder_beside, write_atomic, write_json
from sensorium.tasks.draw import Draw
from sensorium.training.averaging import Averaged
from sensorium.training.batches import BatchPlan, PlannedLoader, micro_batch_size
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.distributed import make_accelerator
from sensorium.training.history import History
from sensorium.training.loop import planned_steps, train
from sensorium.training.memory import give_back
from sensorium.training.precision import raise_malloc_thresholds
from sensorium.training.progress import make_progress
from sensorium.training.tracking import open_tracker

NEW_MODULES = tuple(
    f"model.{name}." for name in ("grown", "place_rows", "place_columns", "levels", "code_head", "end_head")
)
READER = "model.reader."


def fit_drawer(recipe: Recipe, folder: Path, fresh: bool, progress: Any) -> Path:
    """Run ``recipe`` to its end in ``folder``, or go on where an earlier call stopped.

    Raises:
        SensoriumError: recipe, tokenizer or data are not up to it, in one line.
        Interrupted: SIGINT or SIGTERM; a checkpoint was written.
    """
    assert recipe.drawing is not None
    accelerator = make_accelerator(say=progress)
    pictures = open_picture_tokenizer(recipe.drawing.tokenizer)  # what is missing is said before a folder is made
    fingerprint = drawing_source(recipe).fingerprint
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        _work(Run(folder), recipe, pictures, accelerator, make_progress(quiet=True))
        return folder
    with begun(folder, recipe, fingerprint, fresh, progress) as run:
        accelerator.wait_for_everyone()
        if not run.done("reported"):
            _work(run, recipe, pictures, accelerator, progress)
    return folder


@dataclass
class Drawing:
    """One run with its parts built. ``lessons``: part -> a lesson for each of its rows."""

    run: Run
    recipe: Recipe
    asked: DrawingRecipe
    prepared: Prepared
    start: Start
    pictures: PictureTokenizer
    model: DrawingGPT
    lessons: dict[str, list[Lesson]]
    accelerator: Accelerator
    progress: Any

    def prompt(self, lesson: Lesson) -> str:
        """The words of a row."""
        said = self.prepared.source.table.column(self.asked.prompt)[lesson.row].as_py()
        return " ".join(str(said).split())

    @cached_property
    def gallery(self) -> Gallery:
        """What is drawn of the test rows, and what that is compared with."""
        train, right = self.lessons["train"], Pictures(self.prepared, self.asked.picture, self.pictures.size)
        names, draws = [self.prompt(one) for one in train], self.asked.forms.get("draw", 0) > 0
        return Gallery.of(train, self.lessons["test"], names, right, open_comparer(self.recipe), draws)

    def _measured(self, part: str, what: str, tokens: int) -> Columns:
        lessons = self.lessons[part]
        with self.progress.task(what, len(lessons), unit="rows") as advance:
            return measured(self.model, lessons, self.asked, tokens, partial(text_of, self.start.tokenizer), advance)

    def measure(self, when: str) -> Columns:
        """Figures of each test row, measured once and kept."""
        path = self.run.folder / f"measured_{when}.parquet"
        if not path.exists():
            self.run.log(f"test split read: {when} training, {len(self.lessons['test'])} rows")
            tokens, gallery = self.recipe.evaluation.max_new_tokens, self.gallery
            found = self._measured("test", f"measuring {when} training", tokens)
            with self.progress.task("drawing held-out words", len(gallery.places), unit="rows") as advance:
                found |= drawn(self.model, self.pictures, gallery, settings_of(self.asked), advance)
            write_atomic(path, written(found))
        if not self.run.done(f"measured_{when}"):
            self.run.finish(f"measured_{when}", rows=len(self.lessons["test"]))
        return read(path)

    def train(self, dtype: torch.dtype) -> History:
        """Train the model; the average weights with the least loss on validation rows stay in it."""
        recipe, training = self.recipe, self.recipe.training
        units = TrainingLessons(self.lessons["train"], self.model.vocabulary, self.asked, training.seed)
        micro = micro_batch_size(training.batch_size, training.micro_batch_size, self.accelerator.num_processes)
        plan = BatchPlan(units.lengths(), training.batch_size, micro, training.seed)
        trained, total = trainable_parameters(self.model), sum(p.numel() for p in self.model.parameters())
        self.progress(
            f"trains {trained:,} of {total:,} parameters in {training.precision}, {len(units):,} rows an epoch, "
            f"{planned_steps(training, plan.steps):,} steps of {training.batch_size}"
        )
        whole = Averaged(self.model, self.asked.average)
        task = Draw(self.model.vocabulary, training.label_smoothing)
        groups = grouped(self.prepared, np.array([one.row for one in self.lessons["validation"]], dtype=int))[1]

        def validated() -> dict[str, float]:
            with whole.averaged():
                found = self._measured("validation", "validating", 0)
            return losses(found, groups)

        history = train(
            whole,
            task,
            PlannedLoader(units, task.collate, plan, training.workers),
            validated if self.lessons["validation"] else None,
            training,
            accelerator=self.accelerator,
            checkpoints=Checkpoints(self.run.checkpoints, say=self.progress),
            tracker=lambda step: open_tracker(
                recipe.tracking, self.run.logs, step, self.run.folder.name, recipe.model_dump(mode="json")
            ),
            progress=self.progress,
            new_modules=(*NEW_MODULES, READER),
            updated=whole.update,
            say=self.progress,
        )
        self.model.float()
        whole.take()
        return history

    def save(self, history: History) -> None:
        """``model/``: what draws, edits and captions."""
        self.model.to("cpu").eval()
        known = self.prepared.source.defaults.get("prompt_languages", [])
        with folder_beside(self.run.model) as folder, without_bars():
            save_drawing_model(self.model, self.start, self.pictures, self.recipe, folder)
            prompts = (self.prompt(lesson) for lesson in self.lessons["train"])
            save_learnt(folder, prompts, known, pretrained=self.start.folder is not None)
        write_json(self.run.folder / "history.json", history.to_dict())
        self.run.finish("trained", seconds=history.seconds)

    def finish(self, before: Columns, after: Columns, began: float) -> None:
        """Compare, report, and remove what only a resume needs."""
        run, evaluation, test = self.run, self.recipe.evaluation, self.lessons["test"]
        simple: dict[str, Columns] = {}
        if evaluation.baselines:
            train_on = self.lessons["train"]
            names = {one.row: self.prompt(one) for one in train_on if one.source is None}
            simple["unigram"] = unigram(train_on, test, self.model.vocabulary.codes)
            simple["nearest_training_picture"] = {
                "caption_tokens": after["caption_tokens"],
                "said": nearest_captions(train_on, test, names),
                **nearest_named(self.gallery, [self.prompt(one) for one in test]),
            }
        metrics = picture_metrics(
            self._foretold(before),
            self._foretold(after),
            {name: self._foretold(columns) for name, columns in simple.items()},
            task="draw",
            seed=self.recipe.training.seed,
            n_resamples=evaluation.bootstrap,
            notes=notes(self.gallery, {"before": before, "after": after, **simple}, str(self.recipe.model.image)),
        )
        write_json(run.folder / "metrics.json", metrics)
        told: dict[str, Any] = {"row": np.array([one.row for one in test])}
        told["prompt"] = np.array([self.prompt(one) for one in test], dtype=object)
        told |= {f"{name}_after": values for name, values in after.items() if name != SUMMARY}
        write_atomic(run.folder / "predictions.parquet", written(told))
        sheets = drawn_sheet(self.model, self.pictures, self.prepared, self.asked, test, self.prompt, self.progress)
        ended(run, self.recipe, metrics, began, lambda inputs: picture_report(inputs, sheets), self._made())

    def _made(self) -> Made:
        asked, scratch, model = self.asked, self.recipe.model.scratch, self.recipe.model
        what = f"A {scratch.architecture} GPT made from nothing" if scratch else f"{model.backbone}, tuned,"
        parts = {} if scratch else {"GPT": model.backbone}
        if asked.read != "codes":
            parts["image encoder"] = str(model.image)
        inputs = [f"- {asked.prompt}: text", f"- {asked.picture}: image, as {self.pictures.config.codes} codes"]
        return Made(
            f"{asked.picture}, from {self.prepared.source.name}",
            f"{what} writes and reads picture codes between its words; made by Sensorium.",
            "text-to-image, image-to-text",
            parts,
            inputs + ([f"- {asked.source}: image, what edits start from"] if asked.source else []),
            [*LOADED, 'model.draw("words", n=4, seed=1)', 'model.edit(picture, "words")', "model.caption(picture)"],
        )

    def _foretold(self, columns: Columns) -> Foretold:
        test = self.lessons["test"]
        rows = np.array([one.row for one in test])
        return Foretold(columns, [self.prompt(one) for one in test], *grouped(self.prepared, rows))


def _work(run: Run, recipe: Recipe, pictures: PictureTokenizer, accelerator: Accelerator, progress: Any) -> None:
    began, main, asked = time.monotonic(), accelerator.is_main_process, recipe.drawing
    assert asked is not None
    raise_malloc_thresholds()
    recipe = resumed(run, recipe)
    with accelerator.main_process_first():
        prepared = open_drawing_table(recipe, progress)
        rows = {
            "train": prepared.splits.train,
            "validation": fixed_choice(prepared.splits.validation, recipe.evaluation.validation_rows),
            "test": fixed_choice(prepared.splits.test, recipe.evaluation.max_rows),
        }
        prompts = prepared.source.table.column(asked.prompt)
        start = open_start(recipe, lambda: map(str, prompts.take(rows["train"]).to_pylist()), run.cache / "tokenizer")
        columns = [column for column in (asked.picture, asked.source) if column is not None]
        others = np.concatenate([rows["validation"], rows["test"]])
        codes = picture_codes(prepared, columns, others, pictures, placings_of(1, 0), progress)
        placings = placings_of(asked.placings, recipe.training.seed)  # those of training replace what both parts hold
        codes |= picture_codes(prepared, columns, rows["train"], pictures, placings, progress)
        features = read_features(recipe, prepared, progress) if asked.read != "codes" else {}
        micro = micro_batch_size(
            recipe.training.batch_size, recipe.training.micro_batch_size, accelerator.num_processes
        )
        choice = choose_speed(recipe, start, micro)
    recipe = with_choice(recipe, choice)
    width = int(next(iter(features.values())).shape[1]) if features else 0
    model = build_drawing_model(recipe, start, choice, pictures, width)
    positions = len(next(iter(features.values()))) if features else 0
    room = min(model.room("edit"), model.room("caption", positions))
    encode = partial(word_ids, start.tokenizer)
    lessons = {
        part: learnable(lessons_of(prepared, asked, of, codes, encode, room, features), asked.forms)
        for part, of in rows.items()
    }
    if features:
        model.fit_reader(torch.stack([one.features for one in lessons["train"] if one.features is not None]))
    job = Drawing(run, recipe, asked, prepared, start, pictures, model, lessons, accelerator, progress)
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
        job.model = open_drawing_model(run.model).model
    if main:
        job.finish(before, job.measure("after"), began)
    accelerator.wait_for_everyone()
