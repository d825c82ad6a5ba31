"""``fit`` of task recommend: interactions to a ranking model, measured over the whole catalogue before and after."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from accelerate import Accelerator

from sensorium import assets
from sensorium.data.interaction_splits import history_of, split_interactions
from sensorium.data.interactions import Histories, Interactions, InteractionSplits
from sensorium.data.interactions_reading import open_interactions
from sensorium.errors import RecipeError
from sensorium.evaluation import ranking_baselines as baselines
from sensorium.evaluation.ranking_report import write_ranking_report
from sensorium.evaluation.ranking_table import LIST, RankingMeasured, activity, ranking_metrics
from sensorium.jobs.catalogue import save_catalogue
from sensorium.jobs.item_features import item_contents, user_attributes
from sensorium.jobs.ranking_page import people
from sensorium.jobs.surroundings import environment
from sensorium.jobs.transitions import GptAlone, TransitionsAlone, choose_transitions
from sensorium.metrics.ranking import NEVER, accuracy_at, ranks_of
from sensorium.models.item_tower import Content
from sensorium.models.ranking_protocols import Ranker
from sensorium.models.recommender import Recommender, RecommenderConfig
from sensorium.recipe import InteractionsRecipe, Recipe, RecommenderRecipe
from sensorium.run import Run, replace_folder, write_atomic, write_json
from sensorium.tasks.ranking_rules import check_rules
from sensorium.tasks.recommend import Recommend, Windows
from sensorium.training.batches import BatchPlan, PlannedLoader, micro_batch_size
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.distributed import make_accelerator
from sensorium.training.history import History
from sensorium.training.loop import Metric, train
from sensorium.training.precision import Choice
from sensorium.training.progress import make_progress
from sensorium.training.tracking import open_tracker

CHUNK = 512  # cases whose scores over the catalogue are held at once
GROUPED = 12  # most values of a user's category by which results are also given


@dataclass
class Shop:
    """Interactions and how they are parted."""

    inter: Interactions
    splits: InteractionSplits
    report: Any

    @property
    def popularity(self) -> np.ndarray:
        """(items,) training interactions of each."""
        return np.bincount(self.inter.item[self.splits.train], minlength=len(self.inter.items))

    def histories(self, cases: np.ndarray, limit: int, part: Any) -> Histories:
        return history_of(self.inter, self.splits, cases, limit, part)


def open_shop(recipe: Recipe) -> Shop:
    """The recipe's interactions, checked and parted."""
    inter, found = open_interactions(recipe.data, assets.cache_root() / "tables")
    asked = recipe.data.interactions or InteractionsRecipe()
    return Shop(inter, split_interactions(inter, asked.split), found)


def fit_recommender(recipe: Recipe, folder: Path, fresh: bool, progress: Any) -> Path:
    """Run ``recipe`` to its end in ``folder``, or go on where an earlier call stopped; whether it was finished before.

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
    with Run.locked(folder) as run:
        aside = run.set_aside() if fresh else None
        if aside is not None:
            progress(f"the earlier run is now in {aside}")
        run.begin(recipe, str(shop.inter.notes["fingerprint"]))
        accelerator.wait_for_everyone()
        if not run.done("reported"):
            _work(run, recipe, shop, accelerator, progress)
    return folder


def described(recipe: Recipe) -> Recipe:
    """The recipe with what it leaves open written out."""
    model = recipe.recommender or RecommenderRecipe()
    if model.backbone != "small":
        raise RecipeError(
            "a pretrained GPT does not rank yet", where="recommender.backbone", mend="set recommender.backbone: small"
        )
    training = recipe.training.model_copy(update={"precision": "fp32", "attention": "sdpa"})
    return recipe.model_copy(update={"recommender": model, "training": training})


def build_recommender(shop: Shop, recipe: Recipe, progress: Any) -> Recommender:
    """The model with its first weights, which follow from the seed, and all that is fixed in it."""
    asked, inter = recipe.recommender, shop.inter
    assert asked is not None
    known = shop.popularity > 0
    contents = item_contents(inter.items, known, recipe, progress)
    taught = np.zeros(len(inter.users), dtype=bool)
    taught[inter.user[shop.splits.train]] = True
    numbers, categories, codec = user_attributes(inter.users, taught, asked.user_inputs)
    graph = inter.knowledge if asked.knowledge != "none" else None
    if asked.knowledge != "none" and graph is None:
        raise RecipeError(
            "the data hold no knowledge graph", where="recommender.knowledge", mend="set it to none, or name one"
        )
    ratings = inter.rating[shop.splits.train]
    rated = bool(np.isfinite(ratings).any())
    config = RecommenderConfig(
        items=len(inter.items),
        users=len(inter.users),
        width=asked.width,
        layers=asked.layers,
        heads=asked.heads,
        history=asked.history,
        dropout=asked.dropout,
        shapes=_shapes(contents),
        user_numbers=numbers.shape[1],
        user_categories=codec.sizes()["categories"],
        identity=asked.identity,
        identity_dropout=asked.identity_dropout,
        gaps=asked.gaps,
        ratings=asked.ratings and rated,
        rating_range=[float(np.nanmin(ratings)), float(np.nanmax(ratings))] if rated else None,
        entities=len(graph.entities) if graph else 0,
        relations=len(graph.relations) if graph else 0,
        fusion=recipe.model.fusion.kind,
    )
    torch.manual_seed(recipe.training.seed)
    model: Recommender = Recommender(config)
    of_item = None if graph is None else torch.from_numpy(graph.of_item)
    model.fill(contents, torch.from_numpy(known), of_item, numbers, categories)
    model.eval()
    return model


def _shapes(contents: dict[str, Content]) -> dict[str, Any]:
    return {name: [list(content.values.shape), content.size] for name, content in contents.items()}


@dataclass
class Ranked:
    """Ranks (cases,) of the held-out items and the first ``LIST`` items (cases, LIST), -1 where there are fewer."""

    ranks: np.ndarray
    top: np.ndarray


@torch.inference_mode()
def rank(model: Ranker, histories: Histories, targets: np.ndarray, exclude_seen: bool) -> Ranked:
    """Rank the whole catalogue for each case."""
    items, bias = model.item_vectors(), model.item_bias()
    ranks, tops = [], []
    for start in range(0, len(histories), CHUNK):
        part = baselines.take(histories, slice(start, start + CHUNK))
        scores = (model.user_vectors(part) @ items.T + bias).cpu().numpy()
        seen = list(part.items) if exclude_seen else None
        ranks.append(ranks_of(scores, targets[start : start + CHUNK], seen))
        if seen is not None:
            rows, places = np.nonzero(part.items >= 0)
            scores[rows, part.items[rows, places]] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :LIST]
        tops.append(np.where(np.isfinite(np.take_along_axis(scores, best, 1)), best, -1))
    return Ranked(np.concatenate(ranks), np.concatenate(tops))


def _work(run: Run, recipe: Recipe, shop: Shop, accelerator: Accelerator, progress: Any) -> None:
    began, main = time.monotonic(), accelerator.is_main_process
    inter, splits, asked = shop.inter, shop.splits, recipe.recommender
    assert asked is not None
    if main:
        _announce(run, recipe, shop, progress)
    with accelerator.main_process_first():
        model = build_recommender(shop, recipe, progress)
    test = shop.histories(splits.test, asked.history, "test")
    targets = inter.item[splits.test]
    answers: dict[str, Ranked] = {}
    if main:
        run.log(f"test split read: before training, {len(test)} cases")
        answers["before"] = rank(model, test, targets, asked.exclude_seen)
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
        chosen = choose_transitions(model, shop.inter, splits, asked, progress)
        _save(run, model, shop)
        write_json(run.folder / "history.json", history.to_dict() | {"transitions": chosen})
        run.finish("trained", seconds=history.seconds)
    else:
        model = Recommender.open(run.model)
    run.log(f"test split read: after training, {len(test)} cases")
    answers["after"] = rank(model, test, targets, asked.exclude_seen)
    if model.config.transitions:  # what each of the two reaches without the other
        for name, part in (("gpt alone", GptAlone(model)), ("transitions alone", TransitionsAlone(model))):
            answers[name] = rank(part, test, targets, asked.exclude_seen)
    if not run.done("measured_after"):
        run.finish("measured_after", rows=len(test))
    cases, notes = _measured(recipe, shop, model, answers, test)
    metrics = ranking_metrics(cases, seed=recipe.training.seed, n_resamples=recipe.evaluation.bootstrap, notes=notes)
    write_json(run.folder / "metrics.json", metrics)
    write_atomic(run.folder / "predictions.parquet", _table(shop, answers))
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
        data_report={"rows": len(inter)},
        environment=run.read_json("environment.json"),
        timings={"training seconds": trained["seconds"], "whole job seconds": seconds},
    )
    run.finish("reported", seconds=seconds)
    Checkpoints(run.checkpoints).clear()
    accelerator.wait_for_everyone()


def _announce(run: Run, recipe: Recipe, shop: Shop, progress: Any) -> None:
    sizes = {part: len(getattr(shop.splits, part)) for part in ("train", "validation", "test")}
    for line in shop.report.lines():
        progress(line)
    progress(", ".join(f"{count:,} {part}" for part, count in sizes.items()) + f" ({shop.splits.method})")
    choice = Choice(recipe.training.precision, recipe.training.attention, {}, {})
    fingerprint = str(shop.inter.notes["fingerprint"])
    run.write_recipe(recipe)
    write_json(run.folder / "environment.json", environment(recipe, fingerprint, choice))
    found = shop.report.to_dict() | {"splits": sizes, "split_method": shop.splits.method}
    write_json(run.folder / "data_report.json", found)
    shop.report.write_quarantine(run.folder / "quarantine.jsonl")


def _train(
    run: Run, recipe: Recipe, shop: Shop, model: Recommender, accelerator: Accelerator, progress: Any
) -> History:
    """Tune the model; the weights with the best NDCG@10 on validation cases stay in it."""
    inter, splits, asked, training = shop.inter, shop.splits, recipe.recommender, recipe.training
    assert asked is not None
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
        say=progress,
    )


def _save(run: Run, model: Recommender, shop: Shop) -> None:
    temporary = Path(tempfile.mkdtemp(dir=run.folder, prefix=".model-"))
    try:
        model.save_pretrained(temporary)
        known = np.concatenate([shop.splits.train, shop.splits.validation])
        save_catalogue(temporary, shop.inter, known)
        replace_folder(temporary, run.model)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _measured(
    recipe: Recipe, shop: Shop, model: Recommender, answers: dict[str, Ranked], test: Histories
) -> tuple[RankingMeasured, list[str]]:
    """The model, the one before and what simpler methods reach on the same cases; and what was chosen for those."""
    inter, splits, asked = shop.inter, shop.splits, recipe.recommender
    assert asked is not None
    targets, ranks, tops = inter.item[splits.test], {}, {}
    for name, found in answers.items():
        ranks[name], tops[name] = found.ranks, found.top
    notes = []
    content = _content(model)
    if recipe.evaluation.baselines:
        check = baselines.Check(
            shop.histories(splits.validation, asked.history, "validation"), inter.item[splits.validation]
        )
        simple = {
            "most popular": baselines.most_popular(inter, splits, check),
            "item neighbours": baselines.item_neighbours(inter, splits, check),
            "matrix factorisation": baselines.matrix_factorisation(inter, splits, check),
        }
        if content is not None:
            simple["content neighbours"] = baselines.content_neighbours(content, check)
            simple["popular attributes"] = baselines.popular_attributes(inter, splits, check)
        for name, method in simple.items():
            scores = method.scores(test)
            ranks[name] = np.where(np.isneginf(scores[np.arange(len(targets)), targets]), NEVER, 0)
            ranks[name] = np.where(ranks[name] == NEVER, NEVER, ranks_of(scores, targets))
            tops[name] = np.argsort(-scores, axis=1, kind="stable")[:, :LIST]
            notes.append(method.note(name))
    cases = RankingMeasured(
        ranks=ranks,
        top=tops,
        users=inter.user[splits.test],
        targets=targets,
        groups=_groups(shop, test),
        popularity=shop.popularity,
        content=content,
    )
    return cases, notes


def _content(model: Recommender) -> np.ndarray | None:
    """(items, width) of all fixed inputs side by side, each of length about one; None where items have none."""
    parts = [part for _, part in model.tower.parts.items() if part.values.dim() == 2]
    if not parts:
        return None
    return torch.cat([part.values / part.values.shape[1] ** 0.5 for part in parts], 1).numpy()


def _groups(shop: Shop, test: Histories) -> dict[str, list[Any]]:
    """Test cases by how much is known of the user, and by the users' own categories and ages."""
    found: dict[str, list[Any]] = {"activity": activity((test.items >= 0).sum(1))}
    users = shop.inter.users
    for name, kind in users.inputs.items():
        cells = [users.cells[name][int(user)] for user in shop.inter.user[shop.splits.test]]
        if kind == "number":
            cells = [None if c is None else f"{10 * int(float(c) // 10)}–{10 * int(float(c) // 10) + 9}" for c in cells]
        if kind in ("number", "category") and 1 < len(set(cells)) <= GROUPED:
            found[name] = cells
    return found


def _table(shop: Shop, answers: dict[str, Ranked]) -> bytes:
    """``predictions.parquet``: a row a test case."""
    inter, cases = shop.inter, shop.splits.test
    names = inter.items.names
    after = answers["after"]
    table = pa.table(
        {
            "user": [inter.users.names[user] for user in inter.user[cases]],
            "target": [names[item] for item in inter.item[cases]],
            "rank_before": answers["before"].ranks,
            "rank_after": after.ranks,
            "top": [[names[item] for item in row if item >= 0] for row in after.top],
        }
    )
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()
