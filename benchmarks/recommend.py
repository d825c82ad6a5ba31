"""MovieLens 100K, last film of every user, ranked among all: ``recipes/movielens.yaml`` against RecBole's SASRec.

    python -m benchmarks.recommend                  # the recipe over its seeds, against results/sasrec_seed_N.json
    python -m benchmarks.recommend --ablation       # cold films: identity, + title, + attributes, + knowledge graph
    python -m benchmarks.recommend --taste          # emoji-taste (simulated): with pictures and without

``benchmarks/sasrec_peer.py`` says how SASRec's results are made; both sides are asked for the same films of the same
users. Both are ranked twice: among all films, and among those that the user has not seen, which in MovieLens, where nobody
rates a film twice, is much easier.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, Results, arguments_of, clean_environment, mean, percent, table
from benchmarks.runs import recipe_of

COLD = {"data.interactions.split.kind": "cold_items", "recommender.exclude_seen": False}
GENRES, TITLE = ["genres", "year"], ["title"]
ABLATION: dict[str, dict[str, Any]] = {
    "identity only": {"recommender.item_inputs": [], "recommender.knowledge": "none"},
    "+ title": {"recommender.item_inputs": TITLE, "recommender.knowledge": "none"},
    "+ attributes": {"recommender.item_inputs": TITLE + GENRES, "recommender.knowledge": "none"},
    "+ knowledge graph": {"recommender.item_inputs": TITLE + GENRES, "recommender.knowledge": "distmult"},
}
TASTE: dict[str, dict[str, Any]] = {"without pictures": {"recommender.item_inputs": []}, "with pictures": {}}
UNPAIRED = "Mean ± standard deviation over seeds"


def main(arguments: list[str] | None = None) -> None:
    parser = arguments_of(__doc__, "recommend")
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--taste", action="store_true")
    args = parser.parse_args(arguments)
    clean_environment()
    small = {"training.epochs": args.epochs} if args.epochs else {}
    if args.ablation:
        variants(
            args, "recommend_cold", "movielens", {name: {**COLD, **more} for name, more in ABLATION.items()}, small
        )
    elif args.taste:
        variants(args, "recommend_taste", "emoji-taste", TASTE, small)
    else:
        against_sasrec(args, small)


def one_run(args: argparse.Namespace, name: str, recipe: str, overrides: dict[str, Any], seed: int) -> dict[str, Any]:
    """A run's figures and the rank of every case."""
    import sensorium

    seeds = {"training.seed": seed, "data.interactions.split.seed": seed}
    output = args.runs / name.replace(" ", "-") / f"seed-{seed}"
    folder = sensorium.fit(recipe_of(recipe, {**seeds, **overrides}, output, seed)).folder
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return {
        "metrics": json.loads((folder / "metrics.json").read_text(encoding="utf-8")),
        "seconds": history["seconds"],
        "best": history["best"],
        "transitions": history["transitions"],
        "ranks": both_ranks(folder),
    }


def both_ranks(folder: Path) -> dict[str, dict[str, Any]]:
    """User: the held-out item (with several, the last), its rank among all items and among those not in the history."""
    from sensorium.jobs.ranking.rankings import open_shop, rank
    from sensorium.models.ranking.recommender import Recommender
    from sensorium.recipe import Recipe

    recipe = Recipe.load(folder / "recipe.yaml")
    assert recipe.recommender is not None
    shop, model = open_shop(recipe), Recommender.open(folder / "model")
    cases = shop.splits.test
    histories, targets = shop.histories(cases, recipe.recommender.history, "test"), shop.inter.item[cases]
    ranks, unseen = (rank(model, histories, targets, left_out).ranks.tolist() for left_out in (False, True))
    users, items = shop.inter.users.names, shop.inter.items.names
    return {
        users[user]: {"item": items[item], "rank": whole, "unseen_rank": left}
        for user, item, whole, left in zip(histories.users.tolist(), targets.tolist(), ranks, unseen, strict=True)
    }


# -- against SASRec --------------------------------------------------------------------------------


def against_sasrec(args: argparse.Namespace, small: dict[str, Any]) -> None:
    """Each seed beside SASRec's of that seed, or of the last one that there is."""
    results = Results(args.results, "recommend", {"recipe": "movielens", "set": small})
    lines = []
    for seed in args.seeds:
        ours = results.once(f"run/{seed}", one_run, args, "movielens", "movielens", small, seed)
        theirs = sasrec(seed) or sasrec(0)
        if theirs is None:
            raise SystemExit("no SASRec results: see benchmarks/sasrec_peer.py")
        users = sorted(theirs["ranks"])
        if sorted(ours["ranks"]) != users or any(ours["ranks"][u]["item"] != theirs["ranks"][u]["item"] for u in users):
            raise SystemExit(f"seed {seed}: the two sides were asked for other films")
        for key, among in (("rank", "all"), ("unseen_rank", "unseen")):
            sides = [np.array([side["ranks"][u][key] for u in users]) for side in (theirs, ours)]
            difference = told(paired(*sides))
            lines.append(
                [f"SASRec, seed {theirs['seed']}, {among}", *figures(sides[0]), f"{theirs['seconds']:.0f}", ""]
            )
            lines.append([f"Sensorium, seed {seed}, {among}", *figures(sides[1]), f"{ours['seconds']:.0f}", difference])
    for name, scores in results[f"run/{args.seeds[0]}"]["metrics"]["baselines"].items():
        cells = [f"{scores[key]['value']:.4f}" for key in ("hit_rate@10", "ndcg@10")]
        lines.append([f"{name}, seed {args.seeds[0]}", *cells, "", ""])
    head = ["last film of 943 users, among", "HR@10", "NDCG@10", "training, s", "NDCG@10 over SASRec's, 95 %"]
    results.write_table("# MovieLens 100K: ranking all films\n\n" + table(head, lines))


def sasrec(seed: int) -> dict[str, Any] | None:
    """SASRec's results of this seed."""
    path = RESULTS / f"sasrec_seed_{seed}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def ndcg(ranks: Any, k: int = 10) -> np.ndarray:
    """(cases,) of one target each."""
    ranks = np.asarray(ranks)
    return np.where(ranks <= k, 1 / np.log2(ranks + 1), 0.0)


def figures(ranks: np.ndarray) -> list[str]:
    return [f"{np.mean(ranks <= 10):.4f}", f"{ndcg(ranks).mean():.4f}"]


def paired(theirs: np.ndarray, ours: np.ndarray, users: list[str] | None = None) -> dict[str, float]:
    """Ours minus theirs in NDCG@10, over users drawn together; ``users`` where one has several rows."""
    from sensorium.evaluation.intervals import paired_bootstrap

    found = paired_bootstrap(ndcg(theirs), ndcg(ours), n_resamples=10_000, clusters=users)
    base = ndcg(theirs).mean()
    share = found.value / base if base else float("nan")  # identity alone finds no cold item at all
    return {"value": found.value, "low": found.low, "high": found.high, "share": share}


def told(difference: dict[str, float]) -> str:
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    share = f", {100 * difference['share']:+.0f} %" if np.isfinite(difference["share"]) else ""
    return f"{value:+.4f} ({low:+.4f} to {high:+.4f}){share}"


# -- variants of one recipe ------------------------------------------------------------------------


def variants(
    args: argparse.Namespace, name: str, recipe: str, variants: dict[str, dict[str, Any]], small: dict[str, Any]
) -> None:
    """Each variant over the seeds; the baselines are those of the last variant's first seed."""
    results = Results(args.results, name, {"recipe": recipe, "set": small})
    lines = []
    for variant, overrides in variants.items():
        runs = [
            results.once(f"{variant}/{seed}", one_run, args, f"{name}-{variant}", recipe, {**overrides, **small}, seed)
            for seed in args.seeds
        ]
        figures_of = [run["metrics"]["after"] for run in runs]
        hits, gains = ([one[key]["value"] for one in figures_of] for key in ("hit_rate@10", "ndcg@10"))
        lines.append([variant, percent(hits), percent(gains), f"{mean(run['seconds'] for run in runs):.0f}"])
    last = [results[f"{list(variants)[-1]}/{seed}"]["metrics"]["baselines"] for seed in args.seeds]
    for baseline in last[0]:
        cells = [percent([one[baseline][key]["value"] for one in last]) for key in ("hit_rate@10", "ndcg@10")]
        lines.append([baseline, *cells, ""])
    head = [f"{recipe}, all items ranked, %", "HR@10", "NDCG@10", "training, s"]
    seeds = ", ".join(map(str, args.seeds))
    results.write_table(
        f"# {name}\n\n{table(head, lines)}\n{UNPAIRED} {seeds}.\n{last_over_first(results, list(variants), args.seeds)}\n"
    )


def last_over_first(results: Results, names: list[str], seeds: list[int]) -> str:
    """The last variant against the first in NDCG@10, over users of all seeds drawn together."""
    sides = [
        np.concatenate([[one["unseen_rank"] for one in results[f"{name}/{seed}"]["ranks"].values()] for seed in seeds])
        for name in (names[0], names[-1])
    ]
    users = [user for seed in seeds for user in results[f"{names[-1]}/{seed}"]["ranks"]]
    return f"{names[-1]} over {names[0]} among unseen items, NDCG@10: {told(paired(*sides, users))}."


if __name__ == "__main__":
    main()
