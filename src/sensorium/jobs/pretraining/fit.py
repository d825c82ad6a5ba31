"""``fit`` of task pretrain: texts, and media beside them, to a language model that other recipes start from."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from torch import Tensor

from sensorium.errors import RecipeError
from sensorium.evaluation.pretraining_table import pretraining_metrics
from sensorium.evaluation.report import report
from sensorium.jobs.begun import begun, resumed, with_choice
from sensorium.jobs.card import Made
from sensorium.jobs.ended import ended
from sensorium.jobs.parts import resolve, trainable_parameters
from sensorium.jobs.pretraining.data import PartTokens, Texts, open_texts, replayed
from sensorium.jobs.pretraining.measures import Columns, HeldOut, chance, loss_of, measured, touched, unigram
from sensorium.jobs.pretraining.parts import (
    Start,
    architecture,
    build_model,
    choose_speed,
    open_start,
    read_model,
    save_model,
)
from sensorium.jobs.pretraining.table import media_features
from sensorium.jobs.pretraining.units import Units, held_out_readers, text_readers, training_readers
from sensorium.jobs.surroundings import environment
from sensorium.models.language.pretraining import PretrainingModel
from sensorium.recipe import PretrainingRecipe, Recipe
from sensorium.run import Run, folder_beside, write_atomic, write_json
from sensorium.tasks.pretrain import WITH_MEDIA, Pretrain, check_objectives
from sensorium.training.batches import BatchPlan, PlannedLoader, micro_batch_size
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.distributed import make_accelerator
from sensorium.training.history import History
from sensorium.training.loop import Metric, planned_steps, train
from sensorium.training.memory import give_back
from sensorium.training.precision import raise_malloc_thresholds
from sensorium.training.progress import make_progress
from sensorium.training.tracking import open_tracker


def fit_pretraining(recipe: Recipe, folder: Path, fresh: bool, progress: Any) -> Path:
    """Run ``recipe`` to its end in ``folder``, or go on where an earlier call stopped.

    Raises:
        SensoriumError: recipe or data are not up to it, in one line.
        Interrupted: SIGINT or SIGTERM; a checkpoint was written.
    """
    recipe = described(recipe)
    accelerator = make_accelerator(say=progress)
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        _work(Run(folder), recipe, open_texts(recipe, progress), accelerator, make_progress(quiet=True))
        return folder
    texts = open_texts(recipe, progress)
    with begun(folder, recipe, texts.fingerprint, fresh, progress) as run:
        accelerator.wait_for_everyone()
        if not run.done("reported"):
            _work(run, recipe, texts, accelerator, progress)
    return folder


def described(recipe: Recipe) -> Recipe:
    """The recipe with what it leaves open written out, its objectives checked against the architecture.

    Raises:
        RecipeError: an objective that the architecture cannot carry, or nothing is held out.
    """
    asked = recipe.pretraining or PretrainingRecipe()
    check_objectives(asked, architecture(recipe))
    split = recipe.data.split
    if not split.test and not split.column:
        raise RecipeError(
            "nothing would be left to measure on", where="data.split.test: 0", mend="set a share, such as 0.05"
        )
    return recipe.model_copy(update={"pretraining": asked})


@dataclass
class Pretraining:
    """One run with its parts built.

    Attributes:
        tokens: part -> its texts as tokens; features: row -> (1, width) of its medium; again: part -> what is replayed.
    """

    run: Run
    recipe: Recipe
    texts: Texts
    tokens: dict[str, PartTokens]
    features: dict[int, Tensor]
    again: dict[str, PartTokens]
    start: Start
    model: PretrainingModel
    task: Pretrain
    accelerator: Accelerator
    progress: Any

    def held_out(self, again: bool = False) -> HeldOut:
        """The test part, or that of what is replayed; a causal model also foretells it, whatever it learns by."""
        recipe, evaluation = self.recipe, self.recipe.evaluation
        assert recipe.pretraining is not None
        if again:
            part, seed = self.again["test"], recipe.training.seed
            readers = text_readers(part, recipe.pretraining, self.start, seed, most=evaluation.max_rows, foretell=True)
        else:
            part = self.tokens["test"]
            readers = held_out_readers(recipe, self.start, self.texts, "test", self.tokens, self.features)
        size, pad_id = evaluation.batch_size, self.task.pad_id
        return HeldOut.of(part.numbers(), readers, self.start.tokenizer, size, pad_id)

    def measure(self, when: str, again: bool = False) -> Columns:
        """Figures of each unit, measured once and kept."""
        path = self.run.folder / f"measured_{when}{'_replayed' if again else ''}.parquet"
        if not path.exists():
            what = f"what is replayed of {self.texts.units}" if again else self.texts.units
            self.run.log(f"test split read: {when} training, {what}")
            self.model.eval()
            write_atomic(path, _parquet(measured(self.model, self.held_out(again))))
        if not again and not self.run.done(f"measured_{when}"):
            self.run.finish(f"measured_{when}")
        table = pq.read_table(path)
        return {name: table.column(name).to_numpy() for name in table.column_names}

    def train(self) -> History:
        """Train the model; the weights with the least loss on validation texts stay in it."""
        recipe, training = self.recipe, self.recipe.training
        known = recipe, self.start, self.texts
        units = Units(training_readers(*known, self.tokens, self.features, self.again.get("train")))
        chosen_on = (
            held_out_readers(*known, "validation", self.tokens, self.features) if "validation" in self.tokens else {}
        )
        self.task.shares = units.shares
        micro = micro_batch_size(training.batch_size, training.micro_batch_size, self.accelerator.num_processes)
        plan = BatchPlan(np.ones(len(units), dtype=np.int32), training.batch_size, micro, training.seed)
        trained, total = trainable_parameters(self.model), sum(p.numel() for p in self.model.parameters())
        self.progress(
            f"trains {trained:,} of {total:,} parameters, {len(units):,} units an epoch, "
            f"{planned_steps(training, plan.steps):,} steps of {training.batch_size}"
        )
        name, higher = self.task.measure
        return train(
            self.model,
            self.task,
            PlannedLoader(units, self.task.collate, plan, training.workers),
            (lambda: loss_of(self.model, self.task, chosen_on, micro)) if chosen_on else None,
            training,
            accelerator=self.accelerator,
            checkpoints=Checkpoints(self.run.checkpoints, say=self.progress),
            tracker=lambda step: open_tracker(
                recipe.tracking, self.run.logs, step, self.run.folder.name, recipe.model_dump(mode="json")
            ),
            progress=self.progress,
            metric=Metric(name, higher),
            new_modules=NEW_MODULES,
            say=self.progress,
        )

    def save(self, history: History) -> None:
        """``model/``, for other recipes to start from."""
        table, encoder = self.texts.table, None
        if self.model.alignment is not None and table is not None and table.kind is not None:
            encoder = table.kind, Path(resolve(str(getattr(self.recipe.model, table.kind)), table.kind))
        with folder_beside(self.run.model) as folder:
            save_model(self.model.to("cpu"), self.start, folder, encoder)
        write_json(self.run.folder / "history.json", history.to_dict())
        self.run.finish("trained", seconds=history.seconds)

    def finish(self, before: Columns, after: Columns, began: float) -> None:
        """Compare, report, and remove what only a resume needs."""
        run, evaluation = self.run, self.recipe.evaluation
        simple: dict[str, Columns] = {}
        if evaluation.baselines:
            counts = self.tokens["train"].counts(len(self.start.tokenizer))
            simple = {"unigram": unigram(counts, self.held_out()), "chance": chance(after)}
        kept = touched(after)
        metrics = pretraining_metrics(
            _of(before, kept),
            _of(after, kept),
            {name: _of(columns, kept) for name, columns in simple.items() if columns},
            units=self.texts.units,
            seed=self.recipe.training.seed,
            n_resamples=evaluation.bootstrap,
            replayed=self.forgotten(),
        )
        write_json(run.folder / "metrics.json", metrics)
        systems = {"before": before, "after": after}
        told = {f"{name}_{when}": of for when, found in systems.items() for name, of in _of(found, kept).items()}
        numbers = self.tokens["test"].numbers()[kept]
        write_atomic(run.folder / "predictions.parquet", _parquet({self.texts.units[:-1]: numbers, **told}))
        ended(run, self.recipe, metrics, began, report, self._made())

    def _made(self) -> Made:
        model, asked, table = self.recipe.model, self.recipe.pretraining, self.texts.table
        assert asked is not None
        what = (
            f"A {model.scratch.architecture} model made from nothing" if model.scratch else f"{model.backbone}, further"
        )
        parts = {} if model.scratch else {"GPT": model.backbone}
        if table is not None and table.kind is not None and self.model.alignment is not None:
            parts[f"{table.kind} encoder"] = str(getattr(model, table.kind))
        return Made(
            f"What {self.texts.units} teach",
            f"{what} pretrained by Sensorium: {', '.join(asked.objectives)}. It is a start for other recipes, and answers "
            "nothing by itself.",
            "pretraining",
            parts,
            ["- text"] + ([f"- {table.column}: {table.kind}"] if table is not None and table.column else []),
            ["# in a recipe that starts from it", "# model: {backbone: RUN/model}"],
        )

    def forgotten(self) -> tuple[Columns, Columns] | None:
        """Figures on held-out documents of what is replayed, before and after."""
        if "test" not in self.again:
            return None
        before, after = self.measure("before", again=True), self.measure("after", again=True)
        kept = touched(after)
        return _of(before, kept), _of(after, kept)


NEW_MODULES = ("follows.", "media.", "texts.", "media_token.", "matches.")


def _work(run: Run, recipe: Recipe, texts: Texts, accelerator: Accelerator, progress: Any) -> None:
    began, main, asked = time.monotonic(), accelerator.is_main_process, recipe.pretraining
    assert asked is not None
    raise_malloc_thresholds()
    recipe = resumed(run, recipe)
    features: dict[int, Tensor] = {}
    with accelerator.main_process_first():
        start = open_start(recipe, texts.to_train_on, run.cache / "tokenizer")
        tokens = {part: texts.tokens(part, start.tokenizer, progress) for part in texts.parts}
        replay = replayed(recipe, progress)
        again = {} if replay is None else {p: replay.tokens(p, start.tokenizer, progress) for p in replay.parts}
        if any(name in WITH_MEDIA for name in asked.objectives) and texts.table is not None:
            features = media_features(texts.table, recipe, progress)
    micro = micro_batch_size(recipe.training.batch_size, recipe.training.micro_batch_size, accelerator.num_processes)
    choice = choose_speed(recipe, start, micro)
    recipe = with_choice(recipe, choice)
    alignment = None
    if features and texts.table is not None:
        alignment = str(texts.table.column), int(next(iter(features.values())).shape[1])
    model = build_model(recipe, start, choice, alignment)
    if alignment is not None and texts.table is not None:
        taught = [features[row] for row in texts.table.rows["train"].tolist() if row in features]
        model.media.fit(torch.cat(taught))
    if main:
        run.write_recipe(recipe)
        write_json(run.folder / "environment.json", environment(recipe, texts.fingerprint, choice))
        _announce(run, texts, tokens, progress)
    task = Pretrain({str(name): weight for name, weight in asked.objectives.items()}, start.pad_id)
    job = Pretraining(run, recipe, texts, tokens, features, again, start, model, task, accelerator, progress)
    before = job.measure("before") if main else {}
    if main and again:
        job.measure("before", again=True)
    if not run.done("trained"):
        give_back()
        history = job.train()
        if main:
            job.save(history)
    elif main:
        read_model(model, start, run.model)
    if main:
        job.finish(before, job.measure("after"), began)
    accelerator.wait_for_everyone()


def _announce(run: Run, texts: Texts, tokens: dict[str, PartTokens], progress: Any) -> None:
    """Show what was found, and keep it."""
    sizes = {part: len(found.numbers()) for part, found in tokens.items()}
    corpus = tokens["train"].corpus
    progress(", ".join(f"{n:,} {part}" for part, n in sizes.items()) + f" {texts.units}; {corpus.tokens:,} tokens")
    found: dict[str, Any] = {
        "rows": sum(sizes.values()),
        "splits": sizes,
        "set_aside": corpus.notes.get("set_aside", []),
    }
    if texts.table is not None:
        prepared = texts.table.prepared
        for line in [*prepared.schema.lines()[:-1], *prepared.report.lines()]:
            progress(line)
        found = prepared.report.to_dict() | {"splits": sizes, "split_method": prepared.splits.method}
        prepared.report.write_quarantine(run.folder / "quarantine.jsonl", prepared.source)
    write_json(run.folder / "data_report.json", found)


def _of(columns: Columns, kept: np.ndarray) -> Columns:
    return {name: values[kept] for name, values in columns.items()}


def _parquet(columns: Columns) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), sink)
    return sink.getvalue()
