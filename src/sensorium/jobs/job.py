"""One run with its parts built: measured before, trained, measured after, reported."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from sensorium import assets
from sensorium.data.splits import Splits
from sensorium.errors import DataError
from sensorium.jobs.card import model_card
from sensorium.jobs.chats import chat_characters
from sensorium.jobs.features import encoder_features, summaries, trunk_of
from sensorium.jobs.feed import Feed, Units, estimated_lengths
from sensorium.jobs.measure import keep_answers, measure, metrics_of, prediction_table, read_answers
from sensorium.jobs.parts import Parts, build, trainable_parameters
from sensorium.jobs.prepare import Prepared, fixed_choice
from sensorium.jobs.report import write_report
from sensorium.jobs.surroundings import environment
from sensorium.jobs.translation.measures import finish_gpt
from sensorium.models.decoding import DecodingSettings
from sensorium.models.encoders import positions
from sensorium.models.initialise import fit_projectors, match_sizes
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.recipe import Recipe
from sensorium.run import Run, folder_beside, write_atomic, write_json
from sensorium.tasks.classify import Classify
from sensorium.tasks.generate import Generate
from sensorium.training.batches import BatchPlan, PlannedLoader, micro_batch_size
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.history import History
from sensorium.training.loop import Metric, planned_steps, train
from sensorium.training.memory import Shape, available, check, estimate, give_back
from sensorium.training.tracking import open_tracker

BEFORE_FIRST = (
    1000  # test rows up to which the model is measured before training; else afterwards, from its first weights
)
ENCODED_WHOLE = 20_000  # rows of a table up to which all are encoded, whatever the evaluation looks at
NEW_MODULES = ("projectors.", "fusion.", "head.", "encoders.table.")


@dataclass
class Job:
    """One run with its parts built and its features computed."""

    run: Run
    recipe: Recipe
    prepared: Prepared
    parts: Parts
    task: Classify | Generate
    feed: Feed
    groups: Any
    validation_rows: np.ndarray
    test_rows: np.ndarray
    accelerator: Accelerator
    progress: Any

    @classmethod
    def open(cls, run: Run, recipe: Recipe, prepared: Prepared, progress: Any, accelerator: Accelerator) -> Job:
        """Build the parts and compute what is frozen."""
        resolved = run.resolved()
        if resolved is not None:  # a resume keeps what was measured
            recipe.training.precision = resolved.training.precision
            recipe.training.attention = resolved.training.attention
        parts = build(recipe, prepared)
        training = recipe.training.model_copy(
            update={"precision": parts.choice.precision, "attention": parts.choice.attention}
        )
        recipe = recipe.model_copy(update={"training": training})
        if accelerator.is_main_process:
            run.write_recipe(recipe)
            write_json(run.folder / "schema.json", prepared.schema.to_dict())
            write_json(run.folder / "environment.json", environment(recipe, prepared.source.fingerprint, parts.choice))
        splits = prepared.splits
        validation = fixed_choice(splits.validation, recipe.evaluation.validation_rows)
        test = fixed_choice(splits.test, recipe.evaluation.max_rows)
        feed = Feed(prepared.rows, parts.processor, recipe.evaluation.batch_size, sharing_of(recipe, prepared, parts))
        groups: Any = splits.train.reshape(-1, 1) if feed.sharing is None else feed.groups(splits.train.tolist())
        if worth_caching(recipe, len(groups)):
            folder, rows = assets.cache_root() / "features", rows_to_encode(splits, validation, test)
            feed.cached = encoder_features(parts, prepared, recipe, rows, folder, progress, progress)
            if len(groups) <= ENCODED_WHOLE:  # with more, the layers below run anew at each step, forwards only
                known = [*(list(group) for group in groups), *feed.groups(validation.tolist())]
                feed.trunk = trunk_of(parts, feed, known, recipe, folder, progress, progress)
        task = build_task(recipe, prepared, parts)
        job = cls(run, recipe, prepared, parts, task, feed, groups, validation, test, accelerator, progress)
        job.initialise()
        return job

    def initialise(self) -> None:
        """Fit what is new in the model to training rows; the same each time, for a resumed run too."""
        model, train = self.parts.model, self.prepared.splits.train
        fit_projectors(model, summaries(self.feed.cached, train))
        if self.recipe.model.fusion.kind == "tokens":
            sample = [[int(row) for row in group] for group in self.groups[: self.recipe.evaluation.batch_size]]
            match_sizes(model, next(self.feed.batches(sample, trunk=False)))

    # -- measuring ---------------------------------------------------------------------------------

    def measure_before(self, early: bool) -> None:
        """Answer the test rows with the first weights, now or (for many rows) after training."""
        due = (len(self.test_rows) <= BEFORE_FIRST) == early
        if not due or self.run.done("measured_before") or not self.accelerator.is_main_process:
            return
        if not early:  # the first weights again: they follow from the seed
            self.parts.model = build(self.recipe, self.prepared).model
            self.initialise()
        self._answer("before")
        self.run.finish("measured_before", rows=len(self.test_rows))

    def _answer(self, when: str) -> None:
        self.run.log(f"test split read: {when} training, {len(self.test_rows)} rows")
        model = self.parts.model.to(self.accelerator.device).eval()
        started = time.monotonic()
        with self.progress.task(f"test rows {when} training", len(self.test_rows), unit="rows") as advance:
            answers = self.task.predict(model, self.feed, self.test_rows.tolist(), advance)
        keep_answers(self.run.folder / f"answers_{when}.parquet", answers, time.monotonic() - started)

    def validate(self) -> dict[str, float]:
        """The validation metric on fixed rows."""
        with torch.inference_mode():
            answers = self.task.predict(self.parts.model, self.feed, self.validation_rows.tolist())
        return measure(self.prepared, answers)

    # -- training ----------------------------------------------------------------------------------

    def train(self) -> History | None:
        """Tune the model, or find that it is tuned already."""
        if self.run.done("trained"):
            return None
        give_back()
        recipe, training = self.recipe, self.recipe.training
        micro = micro_batch_size(training.batch_size, training.micro_batch_size, self.accelerator.num_processes)
        lengths = self.lengths()
        plan = BatchPlan(lengths, training.batch_size, micro, training.seed)
        self.announce(plan, micro, int(np.percentile(lengths, 95)))
        units = Units(self.feed, self.groups, training.seed, training.augment)
        loader = PlannedLoader(units, self.feed.collate, plan, training.workers)
        checkpoints = Checkpoints(self.run.checkpoints, say=self.progress)
        name, higher = self.task.measure
        return train(
            self.parts.model,
            self.task,
            loader,
            self.validate if len(self.validation_rows) else None,
            training,
            accelerator=self.accelerator,
            checkpoints=checkpoints,
            tracker=lambda step: open_tracker(
                recipe.tracking, self.run.logs, step, self.run.folder.name, recipe.model_dump(mode="json")
            ),
            progress=self.progress,
            metric=Metric(name, higher),
            new_modules=NEW_MODULES,
            say=self.progress,
        )

    def lengths(self) -> np.ndarray:
        """Estimated tokens of each training unit, for bucketing."""
        processor = self.parts.processor
        characters = np.zeros(len(self.prepared.source), dtype=np.int32)
        for name in processor.texts:
            characters += self.prepared.characters(name)
        if self.recipe.task == "generate" and self.prepared.schema.target:
            characters += self.prepared.characters(self.prepared.schema.target)
        if self.prepared.schema.messages:
            characters += chat_characters(self.prepared, processor, self.prepared.splits.train)
            return estimated_lengths(self.groups, characters, 0)
        tokens = sum(positions(kind, 2000, processor.fusion) for kind in processor.settings.encoders.values())
        return estimated_lengths(self.groups, characters, tokens if processor.fusion.kind == "tokens" else 0)

    def announce(self, plan: BatchPlan, micro: int, length: int) -> None:
        """What trains, what it needs, how many steps; refused where memory cannot do."""
        model, training = self.parts.model, self.recipe.training
        shape = Shape.of(model.backbone.config, micro, length, model.config.backbone_layers - model.trunk_depth)
        need = estimate(model, shape, self.parts.choice.attention)
        check(need, available(self.accelerator.device))
        total = sum(p.numel() for p in model.parameters())
        trained = trainable_parameters(model)
        steps = planned_steps(training, plan.steps)
        flops = (
            6
            * sum(p.numel() for p in model.backbone.parameters())
            * (1 - model.trunk_depth / max(model.config.backbone_layers, 1))
        )
        rate = self.parts.choice.gflops[self.parts.choice.precision] * 0.4e9
        minutes = steps * training.batch_size * length * flops / rate / 60
        self.progress(
            f"trains {trained:,} of {total:,} parameters ({trained / total:.1%}), {self.recipe.model.adapt.method}, "
            f"{self.parts.choice.precision}, {self.parts.choice.attention} attention"
        )
        self.progress(
            f"needs about {need}; {steps:,} steps of {training.batch_size} sequences, roughly {max(minutes, 0.1):.1f} minutes"
        )

    # -- the end -----------------------------------------------------------------------------------

    def finish(self, history: History | None, began: float) -> None:
        """Save the model, measure after, compare, report; ``began`` is when this sitting did (``time.monotonic``)."""
        run = self.run
        if history is not None:
            self.save_model()
            write_json(run.folder / "history.json", history.to_dict())
            run.finish("trained", seconds=history.seconds)
        if not run.done("measured_after"):
            if history is None:
                self.load_model()
            self._answer("after")
            run.finish("measured_after", rows=len(self.test_rows))
        self.measure_before(early=False)
        before, before_seconds = read_answers(run.folder / "answers_before.parquet")
        after, after_seconds = read_answers(run.folder / "answers_after.parquet")
        if self.recipe.translation is not None:
            metrics = finish_gpt(run, self.recipe, self.prepared, before, after, began)
        else:
            metrics = metrics_of(self.prepared, self.recipe, before, after, self.feed.cached, self.validation_rows)
            write_json(run.folder / "metrics.json", metrics)
            write_atomic(run.folder / "predictions.parquet", prediction_table(self.prepared, before, after))
        write_atomic(run.model / "README.md", model_card(self.recipe, self.prepared, metrics))
        seconds = time.monotonic() - began
        if self.recipe.translation is None:
            timings = {
                "test before seconds": before_seconds,
                "test after seconds": after_seconds,
                "whole job seconds": seconds,
            }
            write_report(run, self.recipe, self.prepared, before, after, timings)
        run.finish("reported", seconds=seconds)
        Checkpoints(run.checkpoints).clear()

    def save_model(self) -> None:
        """``model/``: everything that predicting needs."""
        with folder_beside(self.run.model) as folder:
            self.parts.model.save_pretrained(folder, sources=self.parts.folders)
            self.parts.processor.save_pretrained(folder)

    def load_model(self) -> None:
        """The tuned model of an earlier sitting."""
        choice = self.parts.choice
        self.parts.model = MultimodalGPT.from_pretrained(self.run.model, dtype=choice.dtype, attention=choice.attention)


def build_task(recipe: Recipe, prepared: Prepared, parts: Parts) -> Classify | Generate:
    """The task of the recipe."""
    smoothing = recipe.training.label_smoothing
    if prepared.schema.task == "generate":
        return Generate(
            parts.processor,
            decoding=DecodingSettings(max_new_tokens=recipe.evaluation.max_new_tokens),
            label_smoothing=smoothing,
        )
    counts = None
    if recipe.training.class_weights == "balanced":
        if not prepared.schema.classes:
            raise DataError(
                "class_weights need classes", where="training.class_weights", mend="set class_weights: none"
            )
        places = {name: i for i, name in enumerate(prepared.schema.classes)}
        counts = np.zeros(len(places))
        for value in prepared.chunks(str(prepared.schema.target), prepared.splits.train):
            counts[places[str(value)]] += 1
    return Classify(parts.processor.settings, counts=counts, label_smoothing=smoothing)


def sharing_of(recipe: Recipe, prepared: Prepared, parts: Parts) -> Any:
    """A key by which rows share a sequence: the content of all their media. None where rows stand alone."""
    media = [name for name, kind in prepared.schema.inputs.items() if kind in ("image", "audio")]
    alone = prepared.schema.task != "generate" or not media or prepared.schema.messages
    if (
        alone
        or not recipe.training.share_media
        or parts.model.stack is None
        or recipe.model.fusion.kind not in ("tokens", "cross_attention")
    ):
        return None
    if len(media) != len(parts.processor.settings.encoders):
        return None
    return partial(_media_content, prepared, media)


def _media_content(prepared: Prepared, media: list[str], row: int) -> str:
    return "|".join(prepared.content(name, row) for name in media)


def rows_to_encode(splits: Splits, validation: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Rows whose features are needed. Of a small table all of them, so that other splits and seeds find them again."""
    everything = np.concatenate([splits.train, splits.validation, splits.test])
    return everything if len(everything) <= ENCODED_WHOLE else np.concatenate([splits.train, validation, test])


def worth_caching(recipe: Recipe, units: int) -> bool:
    """Whether training passes over the data often enough for a pass of the encoders beforehand to pay."""
    steps = recipe.training.max_steps
    return recipe.training.cache_features and (steps is None or 2 * steps * recipe.training.batch_size >= units)
