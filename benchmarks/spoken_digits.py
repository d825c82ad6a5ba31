"""A noisy handwritten digit, a noisy spoken one, or both -> the digit: what the second modality adds.

    python -m benchmarks.spoken_digits

Each figure is a run of ``recipes/spoken-digits.yaml``, with both inputs or one; the same rows and split for the three of
a seed. Voices of the test rows are never heard in training.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from typing import Any

from benchmarks.common import Results, arguments_of, clean_environment, interval, mean, percent, table
from benchmarks.runs import packed, recipe_of, right, run_of, unpacked

INPUTS: dict[str, dict[str, str]] = {
    "picture": {"picture": "image"},
    "sound": {"sound": "audio"},
    "picture + sound": {"picture": "image", "sound": "audio"},
}
BOTH = "picture + sound"


def measure(args: argparse.Namespace) -> Results:
    """Every choice of inputs and every seed."""
    given = {"data.max_rows": args.max_rows, "training.epochs": args.epochs}
    small = {key: value for key, value in given.items() if value is not None}
    results = Results(args.results, "spoken_digits", {"recipe": "spoken-digits", "set": small})
    for seed in args.seeds:
        for name, inputs in INPUTS.items():
            overrides = {"data.inputs": inputs, "evaluation.baselines": False, **small}
            folder = args.runs / name.replace(" ", "") / f"seed-{seed}"
            results.once(f"{name}/{seed}", one, overrides, folder, seed)
            gc.collect()
    return results


def one(overrides: dict[str, Any], folder: Path, seed: int) -> dict[str, Any]:
    """What the table needs of a run."""
    run = run_of(recipe_of("spoken-digits", overrides, folder, seed))
    return {
        "accuracy": run["metrics"]["after"]["accuracy"],
        "validation": run["validation"],
        "training_seconds": run["training_seconds"],
        "rows": packed(run["rows"]["row"]),
        "right": packed(right(run["rows"])),
    }


def page(results: Results, seeds: list[int]) -> str:
    """Accuracy of each choice of inputs, and what both gain over one, paired row by row."""
    rows = []
    for name in INPUTS:
        found = [results[f"{name}/{seed}"] for seed in seeds]
        accuracies = [f["accuracy"] for f in found]
        seconds = mean(f["training_seconds"] for f in found)
        cells = [percent([a["value"] for a in accuracies]), *(interval(a) for a in accuracies)]
        rows.append([name, *cells, f"{seconds:.0f}"])
    head = ["inputs", "accuracy, % (mean ± sd)", *(f"seed {seed} (95 % interval)" for seed in seeds), "training, s"]
    gains = [
        [f"{BOTH} against {name}", *(gain(results, name, seed) for seed in seeds)] for name in INPUTS if name != BOTH
    ]
    paired = table(["points gained (95 % interval)", *(f"seed {seed}" for seed in seeds)], gains)
    title = "# Spoken and handwritten digits, both noisy"
    note = "Paired bootstrap over test rows, 10,000 resamples."
    return f"{title}\n\n{table(head, rows)}\n{paired}\n{note}\n"


def gain(results: Results, name: str, seed: int) -> str:
    """Points that both inputs gain over one, on the same test rows."""
    from sensorium.evaluation.intervals import paired_bootstrap

    single, both = results[f"{name}/{seed}"], results[f"{BOTH}/{seed}"]
    if single["rows"] != both["rows"]:
        raise SystemExit("the runs of a seed answered different rows")
    found = paired_bootstrap(unpacked(single["right"]), unpacked(both["right"]), n_resamples=10_000)
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def main(arguments: list[str] | None = None) -> None:
    parser = arguments_of(__doc__, "spoken-digits")
    args = parser.parse_args(arguments)
    clean_environment()
    results = measure(args)
    results.write_table(page(results, args.seeds))


if __name__ == "__main__":
    main()
