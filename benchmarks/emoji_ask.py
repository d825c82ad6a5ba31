"""``recipes/emoji-ask.yaml`` in full: the untouched GPT, the tuned one and the linear probe, question by question.

    python -m benchmarks.emoji_ask

The seeds (of split and training) are fixed beforehand: 0, 1, 2. The probe is a logistic regression on the same frozen
picture features and the same split, its C chosen on validation.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from typing import Any

from benchmarks.common import Results, arguments_of, clean_environment, interval, mean, percent, table
from benchmarks.runs import recipe_of, run_of

METRIC = "exact_match"
SYSTEMS = {"majority": "majority", "nearest neighbour": "nearest_neighbour", "linear probe": "linear_probe"}


def measure(args: argparse.Namespace) -> Results:
    """Every seed."""
    given = {"data.max_rows": args.max_rows, "training.epochs": args.epochs, "model.image_size": args.image_size}
    small = {key: value for key, value in given.items() if value is not None}
    results = Results(args.results, "emoji_ask", {"recipe": "emoji-ask", "set": small})
    for seed in args.seeds:
        results.once(f"seed {seed}", one, small, args.runs / f"seed-{seed}", seed)
        gc.collect()
    return results


def one(overrides: dict[str, Any], folder: Path, seed: int) -> dict[str, Any]:
    """What the table needs of a run."""
    run = run_of(recipe_of("emoji-ask", overrides, folder, seed), keep_model=True)
    kept = ("before", "after", "baselines", "difference", "against", "rows")
    by = {q: {k: found[k] for k in kept if k in found} for q, found in run["metrics"]["by"].get("question", {}).items()}
    others = {key: run[key] for key in ("validation", "training_seconds", "job_seconds", "peak_memory")}
    return {"by": by, "notes": run["metrics"]["notes"], **others}


def page(results: Results, seeds: list[int]) -> str:
    """A table a question, then time and memory."""
    runs = [results[f"seed {seed}"] for seed in seeds]
    questions = [q for q in runs[0]["by"] if all(q in run["by"] for run in runs)]
    parts = ["# emoji-ask on held-out concepts\n"]
    for question in questions:
        asked = [run["by"][question] for run in runs]
        parts += [f"## {question}\n", question_table(asked, seeds), differences(asked, seeds), ""]
    cost = [
        [
            f"seed {seed}",
            f"{run['training_seconds']:.0f}",
            f"{run['job_seconds']:.0f}",
            f"{run['peak_memory'] / 2**30:.2f}",
        ]
        for seed, run in zip(seeds, runs, strict=True)
    ]
    parts += ["## Cost\n", table(["", "training, s", "whole job, s", "peak resident, GiB"], cost)]
    return "\n".join(parts)


def question_table(asked: list[dict[str, Any]], seeds: list[int]) -> str:
    """Systems × seeds: exact match with its interval."""
    systems = {"untouched GPT": [found.get("before") for found in asked]}
    systems |= {name: [found["baselines"].get(key) for found in asked] for name, key in SYSTEMS.items()}
    systems |= {"tuned GPT": [found["after"] for found in asked]}
    rows = []
    for name, measured in systems.items():
        if all(measured):
            cells = [one[METRIC] for one in measured if one is not None]
            rows.append([name, percent([cell["value"] for cell in cells]), *(interval(cell) for cell in cells)])
    return table(["exact match, %", "mean ± sd", *(f"seed {seed} (95 % interval)" for seed in seeds)], rows)


def differences(asked: list[dict[str, Any]], seeds: list[int]) -> str:
    """Tuned minus probe in points, paired."""
    found = [part["against"].get("linear_probe", {}).get(METRIC) for part in asked]
    if not all(found):
        return ""
    told = [
        f"seed {seed}: {100 * d['value']:+.1f} ({100 * d['low']:+.1f} to {100 * d['high']:+.1f})"
        for seed, d in zip(seeds, found, strict=True)
    ]
    return f"Tuned minus linear probe, points: {'; '.join(told)}; mean {100 * mean(d['value'] for d in found):+.1f}.\n"


def main(arguments: list[str] | None = None) -> None:
    parser = arguments_of(__doc__, "emoji-ask")
    parser.add_argument("--image-size", type=int, help="other than the recipe's; 128 is the demo's")
    args = parser.parse_args(arguments)
    clean_environment()
    results = measure(args)
    results.write_table(page(results, args.seeds))


if __name__ == "__main__":
    main()
