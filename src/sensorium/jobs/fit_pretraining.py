"""``fit`` of task pretrain: texts (and media beside them) to a language model that other recipes start from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from sensorium import assets
from sensorium.evaluation.pretraining_table import pretraining_metrics
from sensorium.evaluation.report import ReportInputs, report
from sensorium.jobs.begun import begun
from sensorium.jobs.pretraining_data import Corpus, Units, open_corpus, packed, tokenised
from sensorium.jobs.pretraining_measures import foretold, unigram
from sensorium.jobs.surroundings import environment
from sensorium.models.pretraining import PretrainingModel
from sensorium.models.scratch import build
from sensorium.models.tokenizer_training import train_tokenizer
from sensorium.recipe import PretrainingRecipe, Recipe
from sensorium.run import Run, folder_beside, write_atomic, write_json
from sensorium.tasks.pretrain import Pretrain, check_objectives
from sensorium.training.batches import BatchPlan, PlannedLoader, micro_batch_size
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.distributed import make_accelerator
from sensorium.training.history import History
from sensorium.training.loop import Metric, train
from sensorium.training.memory import Shape, give_back
from sensorium.training.precision import choose, raise_malloc_thresholds
from sensorium.training.progress import make_progress
from sensorium.training.tracking import open_tracker

SPECIAL = {
    "causal": ("<pad>", "<s>", "</s>", "<mask>"),
    "bert": ("<pad>", "<cls>", "<sep>", "<mask>"),
}


def fit_pretraining(recipe: Recipe, folder: Path, fresh: bool, progress: Any) -> Path:
    """Run ``recipe`` to its end in ``folder``, or go on where an earlier call stopped.

    Raises:
        SensoriumError: recipe or data are not up to it, in one line.
        Interrupted: SIGINT or SIGTERM; a checkpoint was written.
    """
    recipe = described(recipe)
    accelerator = make_accelerator(say=progress)
    corpus = open_corpus(recipe)
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        _work(Run(folder), recipe, corpus, accelerator, make_progress(quiet=True))
        return folder
    with begun(folder, recipe, corpus.fingerprint, fresh, progress) as run:
        accelerator.wait_for_everyone()
        if not run.done("reported"):
            _work(run, recipe, corpus, accelerator, progress)
    return folder


def described(recipe: Recipe) -> Recipe:
    """The recipe with what it leaves open written out, its objectives checked against the architecture."""
    asked = recipe.pretraining or PretrainingRecipe()
    if recipe.model.scratch is not None:
        check_objectives(asked, recipe.model.scratch.architecture)
    return recipe.model_copy(update={"pretraining": asked})


def _work(run: Run, recipe: Recipe, corpus: Corpus, accelerator: Accelerator, progress: Any) -> None:
    began, main = time.monotonic(), accelerator.is_main_process
    raise_malloc_thresholds()
    asked, scratch, training = recipe.pretraining, recipe.model.scratch, recipe.training
    assert asked is not None and scratch is not None
    kind = "bert" if scratch.architecture == "bert" else "causal"
    tokenizer = train_tokenizer(corpus.parts["train"], scratch.vocabulary, SPECIAL[kind])
    tokenizer.model_max_length = scratch.window
    documents = {part: tokenised(texts, tokenizer) for part, texts in corpus.parts.items()}
    windows = {part: packed(tokens, scratch.window) for part, tokens in documents.items()}
    torch.manual_seed(training.seed)
    model = PretrainingModel(build(scratch, tokenizer), list(asked.objectives))
    micro = micro_batch_size(training.batch_size, training.micro_batch_size, accelerator.num_processes)
    choice = choose(
        Shape.of(model.config, micro, scratch.window),
        assets.cache_root() / "machine",
        training.precision,
        training.attention,
    )
    model.backbone.to(choice.dtype)
    model.backbone.set_attn_implementation(choice.attention)
    model.eval()
    pad = int(tokenizer.pad_token_id)
    if main:
        run.write_recipe(recipe)
        write_json(run.folder / "environment.json", environment(recipe, corpus.fingerprint, choice))

    def measure(part: str) -> dict[str, np.ndarray]:
        return foretold(model, windows[part], len(documents[part]), recipe.evaluation.batch_size, pad)

    def validate() -> dict[str, float]:
        found = measure("validation")
        return {"loss": float(found["nats"].sum() / found["tokens"].sum())}

    before = measure("test")
    history: History | None = None
    if not run.done("trained"):
        give_back()
        task = Pretrain(asked, pad)
        units = Units(windows["train"], training.seed)
        plan = BatchPlan(np.full(len(units), scratch.window), training.batch_size, micro, training.seed)
        name, higher = task.measure
        history = train(
            model,
            task,
            PlannedLoader(units, task.collate, plan, training.workers),
            validate,
            training,
            accelerator=accelerator,
            checkpoints=Checkpoints(run.checkpoints, say=progress),
            tracker=lambda step: open_tracker(
                recipe.tracking, run.logs, step, run.folder.name, recipe.model_dump(mode="json")
            ),
            progress=progress,
            metric=Metric(name, higher),
            say=progress,
        )
        if main:
            with folder_beside(run.model) as folder:
                model.backbone.save_pretrained(folder)
                tokenizer.save_pretrained(folder)
            write_json(run.folder / "history.json", history.to_dict())
            run.finish("trained", seconds=history.seconds)
    after = measure("test")
    sizes = np.array([len(text.encode()) for text in corpus.parts["test"]], dtype=np.float64)
    simple = unigram(documents["train"], documents["test"], len(tokenizer))
    metrics = pretraining_metrics(
        before | {"bytes": sizes},
        after | {"bytes": sizes},
        {"unigram": simple | {"bytes": sizes}},
        units="documents",
        seed=training.seed,
        n_resamples=recipe.evaluation.bootstrap,
    )
    write_json(run.folder / "metrics.json", metrics)
    page = ReportInputs(
        run.folder.name,
        recipe.dump(),
        metrics,
        history=run.read_json("history.json"),
        environment=run.read_json("environment.json"),
    )
    write_atomic(run.report, report(page))
    run.finish("reported", seconds=time.monotonic() - began)
    Checkpoints(run.checkpoints).clear()
