"""The two sides of ``training_speed``, each as one job in a process of its own: from rows to a curve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import peer as peers
from benchmarks.curves import Clock, PeakMemory, Watch
from benchmarks.runs import recipe_of
from sensorium import assets
from sensorium.jobs.features import encoder_features, summaries
from sensorium.jobs.job import Job, rows_to_encode
from sensorium.jobs.parts import build
from sensorium.jobs.prepare import Prepared, described, fixed_choice, prepare
from sensorium.models.decoding import answer_log_likelihoods
from sensorium.recipe import Recipe
from sensorium.run import Run
from sensorium.training.distributed import make_accelerator
from sensorium.training.precision import raise_malloc_thresholds
from sensorium.training.progress import make_progress

RECIPE = "emoji-ask"


class Enough(Exception):
    """Raised between two steps when all that was to be timed is timed."""


class AfterSteps:
    """Progress as the training loop wants it, that calls ``after`` behind every optimiser step."""

    def __init__(self, after: Callable[[], None]) -> None:
        self.after, self.inner = after, make_progress()

    def __call__(self, text: str) -> None:
        self.inner(text)

    def task(self, name: str, total: int, done: int = 0, unit: str = "") -> Any:
        return self._training() if name == "training" else self.inner.task(name, total, done, unit)

    @contextmanager
    def _training(self) -> Iterator[Any]:
        yield lambda count=1, **_: self.after()


def recipe_for(seed: int, folder: Path, overrides: dict[str, Any]) -> Recipe:
    """``emoji-ask`` for one seed of training and split, without curves on disk."""
    return recipe_of(RECIPE, {"tracking": [], "training.precision": "bf16", **overrides}, folder, seed)


def open_data(recipe: Recipe) -> tuple[Recipe, Prepared]:
    prepared = prepare(recipe, make_progress())
    return described(recipe, prepared.schema), prepared


# -- Sensorium -------------------------------------------------------------------------------------


def sensorium_job(seed: int, folder: Path, overrides: dict[str, Any], every_rows: int) -> dict[str, Any]:
    """The recipe from its file to the end of training; everything that ``fit`` does but for measuring is on the clock."""
    with PeakMemory() as memory:
        clock = Clock()
        raise_malloc_thresholds()
        recipe, prepared = open_data(recipe_for(seed, folder, overrides))
        watch = Watch(clock)
        job = open_job(recipe, prepared, folder, AfterSteps(watch))
        watch.loss = lambda: sensorium_loss(job)
        watch.every = max(1, round(every_rows / rows_per_step(job)))
        opened = clock.seconds
        job.validate = lambda: {"exact_match": -watch.measure()}  # type: ignore[method-assign]  # chosen by loss here
        history = job.train()
        watch.measure()
        trained = clock.seconds
    assert history is not None
    choice = {"precision": job.parts.choice.precision, "attention": job.parts.choice.attention}
    return outcome(watch, memory, opened, trained) | {**choice, "rows_per_step": rows_per_step(job)}


def open_job(recipe: Recipe, prepared: Prepared, folder: Path, progress: Any) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job.open(Run(folder), recipe, prepared, progress, make_accelerator(say=progress))


def rows_per_step(job: Job) -> float:
    """Rows (questions) in an optimiser step, on average."""
    return len(job.prepared.splits.train) / max(1, -(-len(job.groups) // job.recipe.training.batch_size))


@torch.inference_mode()
def sensorium_loss(job: Job) -> tuple[float, int]:
    """As ``peer.validation_loss``, on the same rows."""
    model = job.parts.model
    training = model.training
    model.eval()
    total, tokens = 0.0, 0
    for batch in job.feed.batches(job.feed.groups(job.validation_rows.tolist())):
        total -= float(answer_log_likelihoods(model, batch).sum())
        tokens += len(batch.answers)
    model.train(training)
    return total / tokens, tokens


def sensorium_rate(seed: int, folder: Path, overrides: dict[str, Any], steps: int) -> dict[str, Any]:
    """Seconds a step of a variant of the recipe, and the floating-point operations of a step."""
    raise_malloc_thresholds()
    recipe, prepared = open_data(recipe_for(seed, folder, overrides))
    watch = Watch(Clock())

    def after() -> None:
        watch()
        if len(watch.ends) == steps + 2:
            raise Enough

    job = open_job(recipe, prepared, folder, AfterSteps(after))
    job.validate = lambda: {"exact_match": 0.0}  # type: ignore[method-assign]
    with suppress(Enough):
        job.train()
    seconds = watch.seconds_per_step()
    batch = next(job.feed.batches(job.groups[: recipe.training.batch_size]))
    job.parts.model.train()
    flops = count_flops(lambda: job.task.loss(job.parts.model, batch).total.backward())
    return rate(seconds, rows_per_step(job), flops, batch.input_ids.numel(), len(batch.answers))


# -- the peer --------------------------------------------------------------------------------------


def peer_job(
    setup: peers.Setup, schedule: dict[str, Any], seed: int, folder: Path, overrides: dict[str, Any], every_rows: int
) -> dict[str, Any]:
    """The peer's job. Reading and checking the table, which it does by Sensorium's code, is not on its clock."""
    with PeakMemory() as memory:
        recipe, prepared = open_data(recipe_for(seed, folder, {**overrides, **PEER_RECIPE}))
        clock = Clock()
        plan = peers.Schedule(seed=seed, **schedule)
        model, train, validation = peer_parts(recipe, prepared, setup, seed)
        watch = Watch(
            clock, lambda: peers.validation_loss(model, validation), max(1, round(every_rows / plan.batch_size))
        )
        opened = clock.seconds
        peers.train(model, train, setup, plan, watch)
        watch.measure()
        trained = clock.seconds
    return outcome(watch, memory, opened, trained) | {"rows_per_step": plan.batch_size, "steps": plan.steps}


def peer_rate(setup: peers.Setup, seed: int, folder: Path, overrides: dict[str, Any], steps: int) -> dict[str, Any]:
    """As ``sensorium_rate``, of the peer."""
    recipe, prepared = open_data(recipe_for(seed, folder, {**overrides, **PEER_RECIPE}))
    model, train, _ = peer_parts(recipe, prepared, setup, seed)
    watch = Watch(Clock())
    plan = peers.Schedule(steps + 2, recipe.training.batch_size, seed=seed)
    peers.train(model, train, setup, plan, watch)
    batch = peers.collate([train[i] for i in range(min(plan.batch_size, len(train)))])
    flops = count_flops(lambda: model(**batch)["loss"].backward())
    supervised = int((batch["labels"] != peers.IGNORED).sum()) if setup.supervised_only else batch["labels"].numel()
    found = rate(watch.seconds_per_step(), plan.batch_size, flops, batch["input_ids"].numel(), supervised)
    return found | {"train_rows": len(train)}


# How Sensorium's parts are asked for the features that the peer reads at its input.
PEER_RECIPE = {"model.fusion": {"kind": "tokens", "from_layer": 0, "tokens": 16}, "model.adapt": "frozen"}


def peer_parts(
    recipe: Recipe, prepared: Prepared, setup: peers.Setup, seed: int
) -> tuple[peers.Peer, peers.Questions, peers.Questions]:
    """The peer's model, training rows and validation rows; the encoder's features are computed and cached."""
    progress = make_progress()
    parts = build(recipe, prepared)
    splits = prepared.splits
    validation = fixed_choice(splits.validation, recipe.evaluation.validation_rows)
    test = fixed_choice(splits.test, recipe.evaluation.max_rows)
    rows = rows_to_encode(splits, validation, test)  # as a whole job needs them, on both sides
    features = encoder_features(parts, prepared, recipe, rows, assets.cache_root() / "features", progress, progress)
    statistics = summaries(features, splits.train)["picture"]
    folder, tokenizer = str(parts.folders["backbone"]), parts.processor.tokenizer
    del parts

    def questions(part: np.ndarray) -> peers.Questions:
        asked = list(zip(prepared.cells("question", part), prepared.cells("answer", part), strict=True))
        return peers.Questions(tokenizer, asked, lambda place: features["picture"](int(part[place])))  # type: ignore[arg-type,return-value]

    rank, dropout = 8, recipe.model.feature_dropout
    width = statistics.shape[1]
    model = peers.build(folder, setup, rank=rank, width_in=width, dropout=dropout, statistics=statistics, seed=seed)
    return model, questions(splits.train), questions(validation)


# -- what both give --------------------------------------------------------------------------------


def outcome(watch: Watch, memory: PeakMemory, opened: float, trained: float) -> dict[str, Any]:
    """A curve and what it cost; ``opened``, ``trained``: seconds on the clock when the first and last step stood there."""
    return {
        "curve": watch.points,
        "opened": opened,
        "trained": trained,
        "evaluation_seconds": watch.evaluation_seconds,
        "tokens": watch.tokens,
        **memory.to_dict(),
    }


def rate(seconds: float, rows: float, flops: int, tokens: int, supervised: int) -> dict[str, Any]:
    return {
        "seconds_per_step": seconds,
        "rows_per_second": rows / seconds,
        "flops": flops,
        "tokens": tokens,
        "supervised": supervised,
    }


def count_flops(step: Callable[[], None]) -> int:
    """Floating-point operations of matrix products in a forward and backward pass, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())
