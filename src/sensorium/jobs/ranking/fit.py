"""``fit`` of task recommend: interactions to a ranking model, measured over the whole catalogue before and after."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from sensorium.evaluation.ranking_report import write_ranking_report
from sensorium.evaluation.ranking_table import ranking_metrics
from sensorium.jobs.begun import begun
from sensorium.jobs.ranking.card import ranking_card
from sensorium.jobs.ranking.catalogue import save_catalogue
from sensorium.jobs.ranking.gpt import SMALL, check_gpt
from sensorium.jobs.ranking.page import data_found, people
from sensorium.jobs.ranking.parts import at_speed, build_recommender
from sensorium.jobs.ranking.rankings import Ranked, Shop, answered, measured, open_shop, prediction_table, rank
from sensorium.jobs.ranking.transitions import GptAlone, TransitionsAlone, choose_transitions
from sensorium.jobs.surroundings import environment
from sensorium.metrics.ranking import accuracy_at
from sensorium.models.ranking.protocols import Ranker
from sensorium.models.ranking.recommender import Recommender
from sensorium.recipe import Recipe, RecommenderRecipe
from sensorium.run import Run, folder_beside, write_atomic, write_json
from sensorium.tasks.ranking_rules import check_rules
from sensorium.tasks.recommend import Recommend, Windows
from sensorium.training.batches import BatchPlan, PlannedLoader, micro_batch_size
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.distributed import make_accelerator
from sensorium.training.history import History
from sensorium.training.loop import Metric, train
from sensorium.training.progress import make_progress
from sensorium.training.tracking import open_tracker

NEW_MODULES = (  # what starts from nothing beside a pretrained GPT: head_learning_rate is theirs
    "tower.", "relations.", "gaps.", "ratings.", "reviews.", "user_dense.", "user_tables.", "visitor", "norm.",
    "backbone.widen.", "backbone.narrow.", "backbone.norm.",
)  # fmt: skip


def fit_recommender(recipe: Recipe, folder: Path, fresh: bool, progress: Any) -> Path:
    """Run ``recipe`` to its end in ``folder``, or go on where an earlier call stopped.

    Raises:
        SensoriumError: recipe or data are not up to it, in one line.
        Interrupted: SIGINT or SIGTERM; a checkpoint was written.
    """
    recipe = described(recipe)
    accelerator = make_accelerator(say=progress)
    shop = open_shop(recipe)
    if recipe.recommender is not None:
        check_rules(recipe.recommender.rules, shop.inter.items.cells, shop.inter.users.cells)
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        _work(Run(folder), recipe, shop, accelerator, make_progress(quiet=True))
        return folder
    with begun(folder, recipe, str(shop.inter.notes["fingerprint"]), fresh, progress) as run:
        accelerator.wait_for_everyone()
        if not run.done("reported"):
            _work(run, recipe, shop, accelerator, progress)
    return folder


def described(recipe: Recipe) -> Recipe:
    """The recipe with what it leaves open written out. RecipeError where its GPT cannot rank."""
    recipe = recipe.model_copy(update={"recommender": recipe.recommender or RecommenderRecipe()})
    assert recipe.recommender is not None
    if recipe.recommender.backbone != SMALL:
        check_gpt(recipe)
        return recipe
    training = recipe.training.model_copy(update={"precision": "fp32", "attention": "sdpa"})
    return recipe.model_copy(update={"training": training})


def _work(run: Run, recipe: Recipe, shop: Shop, accelerator: Accelerator, progress: Any) -> None:
    began, main = time.monotonic(), accelerator.is_main_process
    inter, splits, asked = shop.inter, shop.splits, recipe.recommender
    assert asked is not None
    if main:
        _announce(run, shop, progress)
    resolved = run.resolved()
    if resolved is not None:  # a resume keeps what was measured
        recipe = at_speed(recipe, resolved.training.precision, resolved.training.attention)
    with accelerator.main_process_first():
        parts = build_recommender(shop, recipe, progress)
    model, recipe = parts.model, at_speed(recipe, parts.choice.precision, parts.choice.attention)
    if main:
        run.write_recipe(recipe)
        found = environment(recipe, str(inter.notes["fingerprint"]), parts.choice)
        write_json(run.folder / "environment.json", found)
    test = shop.histories(splits.test, asked.history, "test")
    targets = inter.item[splits.test]
    answers: dict[str, Ranked] = {}

    def answer(name: str, ranker: Ranker) -> None:
        answers[name] = answered(run, name, len(test), lambda: rank(ranker, test, targets, asked.exclude_seen))

    if main:
        answer("before", model)
        if not run.done("measured_before"):
            run.finish("measured_before", rows=len(test))
    history = None
    if not run.done("trained"):
        history = _train(run, recipe, shop, model, accelerator, progress)
    if not main:
        accelerator.wait_for_everyone()
        return
    if history is not None:
        model = model.to("cpu")
        chosen = choose_transitions(model, inter, splits, asked, progress)
        with folder_beside(run.model) as folder:
            model.save_pretrained(folder, source=parts.source)
            save_catalogue(folder, inter, np.concatenate([splits.train, splits.validation]))
        write_json(run.folder / "history.json", history.to_dict() | {"transitions": chosen})
        run.finish("trained", seconds=history.seconds)
    else:
        model = Recommender.open(run.model)
    answer("after", model)
    if model.config.transitions:  # what each of the two reaches without the other
        answer("gpt alone", GptAlone(model))
        answer("transitions alone", TransitionsAlone(model))
    if not run.done("measured_after"):
        run.finish("measured_after", rows=len(test))
    cases, notes = measured(recipe, shop, model, answers, test)
    metrics = ranking_metrics(cases, seed=recipe.training.seed, n_resamples=recipe.evaluation.bootstrap, notes=notes)
    write_json(run.folder / "metrics.json", metrics)
    write_atomic(run.model / "README.md", ranking_card(recipe, shop, model, metrics))
    write_atomic(run.folder / "predictions.parquet", prediction_table(shop, answers))
    seconds = time.monotonic() - began
    trained = run.read_json("history.json")
    write_ranking_report(
        run.report,
        cases,
        metrics,
        trained,
        title=run.folder.name,
        recipe_yaml=recipe.dump(),
        people=people(inter, cases, test),
        data_report=data_found(shop),
        environment=run.read_json("environment.json"),
        timings={"training seconds": trained["seconds"], "whole job seconds": seconds},
    )
    run.finish("reported", seconds=seconds)
    Checkpoints(run.checkpoints).clear()
    accelerator.wait_for_everyone()


def _announce(run: Run, shop: Shop, progress: Any) -> None:
    """Show what was found in the data, and keep it."""
    for line in shop.report.lines():
        progress(line)
    progress(", ".join(f"{count:,} {part}" for part, count in shop.sizes.items()) + f" ({shop.splits.method})")
    found = shop.report.to_dict() | {"splits": shop.sizes, "split_method": shop.splits.method}
    write_json(run.folder / "data_report.json", found)
    shop.report.write_quarantine(run.folder / "quarantine.jsonl")


def _train(
    run: Run, recipe: Recipe, shop: Shop, model: Recommender, accelerator: Accelerator, progress: Any
) -> History:
    """Tune the model; the weights with the best NDCG@10 on validation cases stay in it."""
    inter, splits, asked, training = shop.inter, shop.splits, recipe.recommender, recipe.training
    assert asked is not None
    if asked.loss == "sampled":  # memory and time of a step are those of what it reads, not of the catalogue
        model.tower.learn_by_rows()
    counts = shop.popularity
    windows = Windows(inter, splits.train, asked.history, training.seed)
    task = Recommend(inter, asked, counts > 0, counts / counts.sum())
    micro = micro_batch_size(training.batch_size, training.micro_batch_size, accelerator.num_processes)
    plan = BatchPlan(np.minimum(windows.lengths, asked.history + 1), training.batch_size, micro, training.seed)
    loader = PlannedLoader(windows, task.collate, plan, training.workers)
    histories = shop.histories(splits.validation, asked.history, "validation")
    wanted = inter.item[splits.validation]

    def validate() -> dict[str, float]:
        ranks = rank(model, histories, wanted, asked.exclude_seen).ranks
        found = accuracy_at(ranks, 10)
        return {f"{name}@10": float(found[name].mean()) for name in ("ndcg", "hit_rate", "mrr")}

    name, higher = task.measure
    return train(
        model,
        task,
        loader,
        validate,
        training,
        accelerator=accelerator,
        checkpoints=Checkpoints(run.checkpoints, say=progress),
        tracker=lambda step: open_tracker(
            recipe.tracking, run.logs, step, run.folder.name, recipe.model_dump(mode="json")
        ),
        progress=progress,
        metric=Metric(name, higher),
        new_modules=NEW_MODULES if model.config.gpt else (),
        say=progress,
    )
