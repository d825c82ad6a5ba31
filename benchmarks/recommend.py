"""MovieLens 100K, last film of every user, ranked among all: ``recipes/movielens.yaml`` against RecBole's SASRec.

    python -m benchmarks.recommend                  # the recipe over its seeds, against results/sasrec_seed_N.json
    python -m benchmarks.recommend --ablation       # cold films: identity, + title, + attributes, + knowledge graph
    python -m benchmarks.recommend --taste          # emoji-taste (simulated): with pictures and without

``benchmarks/sasrec_peer.py`` says how SASRec's results are made; both sides are asked for the same films of the same
users (a hash of the split is compared), and neither leaves out what a user has seen.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.common import RESULTS, Results, arguments_of, clean_environment, mean, percent, table
from benchmarks.runs import recipe_of

COLD = {"data.interactions.split.kind": "cold_items"}
GENRES, TITLE = ["genres", "release_year"], ["title"]
ABLATION: dict[str, dict[str, Any]] = {
    "identity only": {"recommender.item_inputs": [], "recommender.knowledge": "none"},
    "+ title": {"recommender.item_inputs": TITLE, "recommender.knowledge": "none"},
    "+ attributes": {"recommender.item_inputs": TITLE + GENRES, "recommender.knowledge": "none"},
    "+ knowledge graph": {"recommender.item_inputs": TITLE + GENRES, "recommender.knowledge": "distmult"},
}
TASTE: dict[str, dict[str, Any]] = {"without pictures": {"recommender.item_inputs": []}, "with pictures": {}}


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
    rows = pq.read_table(folder / "predictions.parquet", columns=["user", "target", "rank_after"]).to_pydict()
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return {
        "metrics": json.loads((folder / "metrics.json").read_text(encoding="utf-8")),
        "seconds": history["seconds"],
        "best": history["best"],
        "ranks": {u: {"item": t, "rank": int(r)} for u, t, r in zip(*rows.values(), strict=True)},
    }


# -- against SASRec --------------------------------------------------------------------------------


def against_sasrec(args: argparse.Namespace, small: dict[str, Any]) -> None:
    """Each seed beside SASRec's of that seed, or of the last one that there is."""
    results = Results(args.results, "recommend", {"recipe": "movielens", "set": small})
    lines, per_user = [], []
    for seed in args.seeds:
        ours = results.once(f"run/{seed}", one_run, args, "movielens", "movielens", small, seed)
        theirs = sasrec(seed)
        if theirs is None:
            lines.append([f"Sensorium, seed {seed}", *figures(ours["ranks"]), f"{ours['seconds']:.0f}", "–"])
            continue
        users = sorted(theirs["ranks"])
        if sorted(ours["ranks"]) != users or any(ours["ranks"][u]["item"] != theirs["ranks"][u]["item"] for u in users):
            raise SystemExit(f"seed {seed}: the two sides were asked for other films")
        difference = paired([theirs["ranks"][u]["rank"] for u in users], [ours["ranks"][u]["rank"] for u in users])
        per_user.append(difference)
        lines.append([f"SASRec, seed {theirs['seed']}", *figures(theirs["ranks"]), f"{theirs['seconds']:.0f}", ""])
        lines.append([f"Sensorium, seed {seed}", *figures(ours["ranks"]), f"{ours['seconds']:.0f}", told(difference)])
    for name, scores in results[f"run/{args.seeds[0]}"]["metrics"]["baselines"].items():
        cells = [f"{scores[key]['value']:.4f}" if key in scores else "" for key in ("hit_rate@10", "ndcg@10")]
        lines.append([name, *cells, "", ""])
    head = ["last film of 943 users", "HR@10", "NDCG@10", "training, s", "NDCG@10 over SASRec's, 95 %"]
    text = "# MovieLens 100K: ranking all films\n\n" + table(head, lines)
    results.write_table(text)


def sasrec(seed: int) -> dict[str, Any] | None:
    """SASRec's results of this seed."""
    path = RESULTS / f"sasrec_seed_{seed}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def ndcg(ranks: Any, k: int = 10) -> np.ndarray:
    """(cases,) of one target each."""
    ranks = np.asarray(ranks)
    return np.where(ranks <= k, 1 / np.log2(ranks + 1), 0.0)


def figures(ranks: dict[str, dict[str, Any]]) -> list[str]:
    found = np.array([one["rank"] for one in ranks.values()])
    return [f"{np.mean(found <= 10):.4f}", f"{ndcg(found).mean():.4f}"]


def paired(theirs: list[int], ours: list[int]) -> dict[str, float]:
    """Ours minus theirs in NDCG@10, over users drawn together."""
    from sensorium.evaluation.intervals import paired_bootstrap

    found = paired_bootstrap(ndcg(theirs), ndcg(ours), n_resamples=10_000)
    return {"value": found.value, "low": found.low, "high": found.high, "share": found.value / ndcg(theirs).mean()}


def told(difference: dict[str, float]) -> str:
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    return f"{value:+.4f} ({low:+.4f} to {high:+.4f}), {100 * difference['share']:+.0f} %"


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
        ranks = [np.array([one["rank"] for one in run["ranks"].values()]) for run in runs]
        hits, gains = [float(np.mean(r <= 10)) for r in ranks], [float(ndcg(r).mean()) for r in ranks]
        lines.append([variant, percent(hits), percent(gains), f"{mean(run['seconds'] for run in runs):.0f}"])
    last = [results[f"{list(variants)[-1]}/{seed}"]["metrics"]["baselines"] for seed in args.seeds]
    for baseline in last[0]:
        cells = [percent([one[baseline][key]["value"] for one in last]) for key in ("hit_rate@10", "ndcg@10")]
        lines.append([baseline, *cells, ""])
    head = [f"{recipe}, all items ranked, %", "HR@10", "NDCG@10", "training, s"]
    seeds = ", ".join(map(str, args.seeds))
    results.write_table(f"# {name}\n\n{table(head, lines)}\nMean ± standard deviation over seeds {seeds}.\n")


if __name__ == "__main__":
    main()
