"""Does pretraining pay? A small model, pretrained without labels or not, tuned on a tenth of the labels of emoji.

    OMP_NUM_THREADS=1 python -m benchmarks.pretraining_pays

For each seed the concepts of the emoji are parted: a fifth is tested on and seen by nobody before. Of the others a tenth is
labelled, a quarter of these is chosen on and the rest tuned on. ``recipes/pretrain-emoji.yaml`` learns from all the others
and the labelled ones, without labels. Then one recipe is tuned from two starts, on the same rows: from the pretrained
language model and (where it sees pictures) the picture encoder with its alignment; and from the same language model with
random weights and the same picture encoder without it. Of several ``--rates`` the best on validation rows counts, for each
start by itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import Results, arguments_of, clean_environment, interval, percent, table
from benchmarks.runs import recipe_of, run_of
from benchmarks.runs import right as answered_right

TARGETS = ("group", "subgroup")
INPUTS: dict[str, tuple[dict[str, str], int]] = {  # what the tuned model sees, and for how many epochs it is tuned
    "name": ({"name": "text"}, 20),
    "picture and name": ({"picture": "image", "name": "text"}, 20),
}
LABELLED, CHOSEN_ON, TESTED = 0.1, 0.25, 0.2
STARTS = ("pretrained", "tuned only")


def parts_of(concepts: list[str], seed: int) -> tuple[list[str], list[str]]:
    """For each row its part in pretraining and in tuning; "" where it is left out. Concepts stay together.

    Test rows are in neither part of pretraining. Its own test part is a tenth of what is left, like its validation part.
    """
    draw = np.random.default_rng([seed, 20])
    order = draw.permutation(sorted(set(concepts)))
    tests = round(TESTED * len(order))
    tested, rest = set(order[:tests].tolist()), order[tests:]
    labelled = rest[: round(LABELLED * len(rest))]
    chosen_on = set(labelled[: round(CHOSEN_ON * len(labelled))].tolist())
    tuned_on = set(labelled.tolist()) - chosen_on
    others = draw.permutation(rest[len(labelled) :])
    tenth = round(0.1 * len(rest))
    held = dict.fromkeys(others[:tenth].tolist(), "validation") | dict.fromkeys(
        others[tenth : 2 * tenth].tolist(), "test"
    )
    pretraining = ["" if c in tested else held.get(c, "train") for c in concepts]
    tuning = [
        "test" if c in tested else "train" if c in tuned_on else "validation" if c in chosen_on else ""
        for c in concepts
    ]
    return pretraining, tuning


def tables(folder: Path, seed: int) -> tuple[Path, Path]:
    """What is pretrained on, without labels, and what is tuned on; Parquet files with a column ``part``."""
    from sensorium import assets
    from sensorium.data.sources import open_source
    from sensorium.recipe import DataRecipe

    paths = folder / f"unlabelled-{seed}.parquet", folder / f"labelled-{seed}.parquet"
    if not all(path.exists() for path in paths):
        source = open_source(DataRecipe(source="emoji"), assets.cache_root() / "tables").table
        folder.mkdir(parents=True, exist_ok=True)
        columns = (["picture", "name", "tags"], ["picture", "name", *TARGETS, "concept"])
        concepts = [str(c) for c in source.column("concept").to_pylist()]
        for path, parts, names in zip(paths, parts_of(concepts, seed), columns, strict=True):
            kept = pa.array(np.flatnonzero(np.array(parts) != ""))
            made = source.select(names).append_column("part", pa.array(parts)).take(kept)
            pq.write_table(made, path)
    return paths


def pretrain(args: argparse.Namespace, seed: int) -> Path:
    """The pretraining run's folder."""
    source, folder = tables(args.runs, seed)[0], args.runs / f"pretrained-{seed}"
    overrides: dict[str, Any] = {
        "data.source": str(source),
        "data.split": {"column": "part"},
        "evaluation.bootstrap": 200,
        **args.pretrain,
    }
    if args.epochs:
        overrides["training.epochs"] = args.epochs
    from sensorium.jobs.fit import fit

    fit(recipe_of("pretrain-emoji", overrides, folder, seed, split_seed=False))
    return folder


def random_start(run: Path, folder: Path, seed: int) -> Path:
    """The same language model with random weights, and the same tokenizer."""
    import torch
    from transformers import AutoTokenizer

    from sensorium.models.language.scratch import build
    from sensorium.recipe import Recipe

    scratch = Recipe.load(run / "recipe.yaml").model.scratch
    assert scratch is not None
    if not (folder / "config.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(run / "model")
        torch.manual_seed(seed)
        build(scratch, tokenizer).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def tune(args: argparse.Namespace, inputs: str, target: str, start: str, seed: int, rate: float) -> dict[str, Any]:
    """One tuning: accuracy on validation, and which test rows are right, with their concepts."""
    from sensorium.recipe import Recipe

    run = pretrain(args, seed)
    backbone = random_start(run, args.runs / f"random-{seed}", seed) if start == "tuned only" else run / "model"
    aligned = start == "pretrained"
    source = tables(args.runs, seed)[1]
    recipe = Recipe.parse(
        {
            "task": "classify",
            "data": {
                "source": str(source),
                "inputs": INPUTS[inputs][0],
                "target": target,
                "split": {"column": "part"},
            },
            "model": {
                "backbone": str(backbone),
                "image": str(run / "model" / "image") if aligned else "efficientnet-lite0",
                "fusion": {"kind": "concat", "width": 128},
                "adapt": {"method": "full", "layers": "all"},
                "feature_dropout": 0.3,
            },
            "training": {
                "epochs": INPUTS[inputs][1],
                "batch_size": 16,
                "learning_rate": rate,
                "weight_decay": 0.05,
                "patience": None,
                "precision": "fp32",
                "attention": "sdpa",
                "seed": seed,
            },
            "evaluation": {"bootstrap": 200, "baselines": False},
            "output": str(args.runs / f"{inputs} {target} {start} {seed} {rate:g}".replace(" ", "-")),
        }
    )
    found = run_of(recipe)
    labels = pq.read_table(source, columns=["concept"]).column("concept").to_pylist()
    return {
        "validation": found["validation"],
        "accuracy": found["metrics"]["after"]["accuracy"]["value"],
        "right": answered_right(found["rows"]),
        "concepts": [str(labels[row]) for row in found["rows"]["row"]],
        "training_seconds": found["training_seconds"],
    }


def chosen(results: Results, inputs: str, target: str, start: str, seed: int) -> dict[str, Any]:
    """The tuning with the learning rate that is best on its validation rows; the lower one of equal ones."""
    runs = [results[f"{inputs}/{target}/{start}/{seed}/{rate:g}"] for rate in results.settings["rates"]]
    return max(runs, key=lambda run: run["validation"])


def measure(args: argparse.Namespace) -> None:
    from sensorium.evaluation.intervals import paired_bootstrap

    results = Results(args.results, "pretraining_pays", {"rates": args.rates, "epochs": args.epochs})
    jobs = [(inputs, target) for inputs in args.inputs for target in args.targets]
    for inputs, target in jobs:
        for seed in args.seeds:
            for start in STARTS:
                for rate in args.rates:
                    key = f"{inputs}/{target}/{start}/{seed}/{rate:g}"
                    results.once(key, tune, args, inputs, target, start, seed, rate)
    rows = []
    for inputs, target in jobs:
        found = {start: [chosen(results, inputs, target, start, seed) for seed in args.seeds] for start in STARTS}
        ours, theirs = found["pretrained"], found["tuned only"]
        labels = [f"{seed} {concept}" for seed, run in zip(args.seeds, theirs) for concept in run["concepts"]]
        right = [np.concatenate([run["right"] for run in runs]) for runs in (theirs, ours)]
        gap = paired_bootstrap(*right, n_resamples=10_000, clusters=labels)
        each = ", ".join(f"{100 * (a['accuracy'] - b['accuracy']):+.1f}" for a, b in zip(ours, theirs))
        means = [percent([run["accuracy"] for run in runs]) for runs in (theirs, ours)]
        shown = interval({"value": gap.value, "low": gap.low, "high": gap.high})
        rows.append([f"{target} from {inputs}", *means, shown, f"{gap.p:.4f}", each])
    head = [
        "accuracy on test, %",
        "tuned only",
        "pretrained, then tuned",
        "difference (95 % interval)",
        "p",
        "each seed",
    ]
    seeds = ", ".join(map(str, args.seeds))
    results.write_table(
        f"# A tenth of the labels, with and without pretraining\n\n{table(head, rows)}\n"
        f"Mean ± standard deviation over seeds {seeds}, of parts and training; concepts held out; paired bootstrap over "
        "concepts.\n"
    )


def main() -> None:
    parser = arguments_of(__doc__, "pretraining-pays")
    parser.add_argument("--inputs", type=lambda text: text.split(","), default=list(INPUTS))
    parser.add_argument("--targets", type=lambda text: text.split(","), default=list(TARGETS[:1]))
    parser.add_argument("--rates", type=lambda text: [float(part) for part in text.split(",")], default=[1e-3])
    parser.set_defaults(pretrain={})
    clean_environment()
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
