"""Five fusions, single modalities and logistic regression on emoji: picture and name -> group (9) or subgroup (98).

    python -m benchmarks.fusion_table              # the table: every fusion, target and seed, references on the same split
    python -m benchmarks.fusion_table --final      # the fusion chosen on validation against the best reference, once
    python -m benchmarks.fusion_table --withheld   # picture or name withheld at test time

Every figure is a run of ``recipes/emoji-group.yaml`` with overrides. References are logistic regressions, C chosen on
validation, on the features that the fusions see: same encoders, same rows, same split (grouped by concept).
"""

from __future__ import annotations

import argparse
import gc
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import Results, arguments_of, clean_environment, mean, percent, table
from benchmarks.references import REFERENCES, probes
from benchmarks.runs import packed, recipe_of, right, run_of, unpacked

RECIPE = "emoji-group"
TARGETS = ("group", "subgroup")
# The GPT reads the name itself, picture tokens or cross-attention enter at layer 27, and the top three layers train.
EARLY = {
    "model.text": None,
    "model.adapt": {"method": "full", "layers": 3},
    "model.feature_dropout": 0.5,
    "training.epochs": 6,
    "training.batch_size": 16,
    "training.learning_rate": 1e-4,
    "training.head_learning_rate": 2e-3,
    "training.weight_decay": 0.01,
    "model.modality_dropout": 0.1,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "image only": {"data.inputs": {"picture": "image"}},
    "text only": {"data.inputs": {"name": "text"}},
    "tokens": {**EARLY, "model.fusion": {"kind": "tokens", "from_layer": 27, "tokens": 16}},
    "cross_attention": {
        **EARLY,
        "model.fusion": {"kind": "cross_attention", "from_layer": 27, "tokens": 16, "every": 2},
    },
    "concat": {"model.fusion": {"kind": "concat", "width": 512}},
    "weighted": {"model.fusion": {"kind": "weighted", "width": 512}},
    "attention": {"model.fusion": {"kind": "attention", "width": 512}},
}
FUSIONS = tuple(name for name in VARIANTS if "only" not in name)
WITHHELD = ("weighted", "attention")  # fusions that are measured with a modality missing
FOLDS = 5


def variant_recipe(args: argparse.Namespace, variant: str, target: str, seed: int) -> Any:
    overrides = {"data.target": target, "evaluation.baselines": False, **VARIANTS[variant], **args.set}
    return recipe_of(RECIPE, overrides, args.runs / f"{variant.replace(' ', '-')}-{target}" / f"seed-{seed}", seed)


def measure_table(args: argparse.Namespace) -> None:
    """Every variant, target and seed, and the references."""
    results = Results(args.results, "fusion_table", settings(args))
    for target in args.targets:
        for seed in args.seeds:
            results.once(f"reference/{target}/{seed}", references, args, target, seed)
            for variant in args.variants:
                results.once(f"{variant}/{target}/{seed}", one_run, args, variant, target, seed)
                gc.collect()
    results.write_table(table_text(results, args))


def one_run(args: argparse.Namespace, variant: str, target: str, seed: int) -> dict[str, Any]:
    """What the table needs of a run; models that are asked again, with a modality withheld, are kept."""
    run = run_of(variant_recipe(args, variant, target, seed), keep_model=variant in WITHHELD)
    accuracy = run["metrics"]["after"]["accuracy"]
    others = {key: run[key] for key in ("validation", "training_seconds", "job_seconds")}
    return {"accuracy": accuracy["value"], "low": accuracy["low"], "high": accuracy["high"], **others}


def settings(args: argparse.Namespace) -> dict[str, Any]:
    return {"recipe": RECIPE, "set": args.set}


def table_text(results: Results, args: argparse.Namespace) -> str:
    """Accuracy on test by variant: mean ± standard deviation over the seeds."""
    rows = []
    for name in [*(f"logistic regression, {r}" for r in REFERENCES), *args.variants]:
        cells = [name]
        for target in args.targets:
            found = [_cell(results, name, target, seed) for seed in args.seeds]
            cells += [percent([f["accuracy"] for f in found]), percent([f["validation"] for f in found])]
        runs = [_cell(results, name, target, seed) for target in args.targets for seed in args.seeds]
        timed = all("training_seconds" in run for run in runs)
        rows.append([*cells, f"{mean(run['training_seconds'] for run in runs):.0f}" if timed else ""])
    head = [
        "accuracy, %",
        *(f"{target}, {part}" for target in args.targets for part in ("test", "validation")),
        "training, s",
    ]
    text = f"# Picture and name of an emoji: {' and '.join(args.targets)}\n\n" + table(head, rows)
    seeds = ", ".join(map(str, args.seeds))
    return f"{text}\nMean ± standard deviation over seeds {seeds} (of split and training); splits grouped by concept.\n"


def _cell(results: Results, name: str, target: str, seed: int) -> dict[str, Any]:
    if name.startswith("logistic regression, "):
        return results[f"reference/{target}/{seed}"][name.removeprefix("logistic regression, ")]
    return results[f"{name}/{target}/{seed}"]


# -- references ------------------------------------------------------------------------------------


def references(args: argparse.Namespace, target: str, seed: int) -> dict[str, dict[str, float]]:
    """Accuracy on validation and test of each logistic regression, on the split of this target and seed."""
    found = probes(variant_recipe(args, "concat", target, seed))
    return {
        name: {"accuracy": float(np.mean(part["right"])), "validation": part["validation"], "note": part["note"]}
        for name, part in found.items()
    }


# -- the one comparison ----------------------------------------------------------------------------


def measure_final(args: argparse.Namespace) -> None:
    """5-fold grouped cross-validation of the fusion and the reference that are best on the table's validation rows."""
    from sensorium.evaluation.intervals import paired_bootstrap

    chosen_from = Results(args.results, "fusion_table", settings(args))
    fusion, reference = choose(chosen_from, args)
    results = Results(args.results, "fusion_final", {**settings(args), "fusion": fusion, "reference": reference})
    path, concepts = folds_table(args.runs / "folds.parquet")
    rows = []
    for target in args.targets:
        ours, theirs = np.zeros(len(concepts)), np.zeros(len(concepts))
        seen = np.zeros(len(concepts), dtype=bool)
        for fold in range(FOLDS):
            found = results.once(f"{target}/fold-{fold}", one_fold, args, path, fusion, reference, target, fold)
            gc.collect()
            tested = unpacked(found["rows"])
            ours[tested], theirs[tested], seen[tested] = unpacked(found["fusion"]), unpacked(found["reference"]), True
        gap = paired_bootstrap(
            theirs[seen], ours[seen], n_resamples=10_000, clusters=[c for c, s in zip(concepts, seen) if s]
        )
        rows.append(
            [target, f"{100 * ours[seen].mean():.2f}", f"{100 * theirs[seen].mean():.2f}",
             f"{100 * gap.value:+.2f} ({100 * gap.low:+.2f} to {100 * gap.high:+.2f})", f"{gap.p:.3f}", int(seen.sum())]
        )  # fmt: skip
    head = ["accuracy, %", fusion, f"logistic regression, {reference}", "difference (95 % interval)", "p", "rows"]
    results.write_table(
        f"# The chosen fusion against the best reference\n\n{table(head, rows)}\n"
        f"Both were chosen on the validation rows of `fusion_table`, before this. {FOLDS}-fold cross-validation grouped by "
        "concept, one seed; paired bootstrap over concepts, 10,000 resamples.\n"
    )


def choose(results: Results, args: argparse.Namespace) -> tuple[str, str]:
    """The fusion and the reference with the best validation accuracy, over all targets and seeds."""

    def score(name: str) -> float:
        return mean(_cell(results, name, target, seed)["validation"] for target in args.targets for seed in args.seeds)

    fusions = [name for name in args.variants if name in FUSIONS]
    reference = max(REFERENCES, key=lambda name: score(f"logistic regression, {name}"))
    return max(fusions, key=score), reference


def folds_table(path: Path) -> tuple[Path, list[str]]:
    """The emoji table as Parquet, with a column ``fold_k`` a fold: test, validation or train. Grouped by concept."""
    from sensorium import assets
    from sensorium.data.sources import open_source
    from sensorium.recipe import DataRecipe

    source = open_source(DataRecipe(source="emoji"), assets.cache_root() / "tables")
    concepts = [str(c) for c in source.table.column("concept").to_pylist()]
    made = source.table
    for fold, names in enumerate(fold_columns(concepts)):
        made = made.append_column(f"fold_{fold}", pa.array(names))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        pq.write_table(made, path)
    return path, concepts


def fold_columns(concepts: list[str], seed: int = 0, validation: float = 0.125) -> list[list[str]]:
    """For each fold the part of every row; concepts stay together. ``validation`` is a share of what is not test."""
    draw = np.random.default_rng(seed)
    unique = sorted(set(concepts))
    place = dict(zip(unique, draw.permutation(len(unique)), strict=True))
    columns = []
    for fold in range(FOLDS):
        rest = [c for c in unique if place[c] % FOLDS != fold]
        checked = set(draw.permutation(rest)[: round(validation * len(rest))].tolist())
        columns.append(
            ["test" if place[c] % FOLDS == fold else "validation" if c in checked else "train" for c in concepts]
        )
    return columns


def one_fold(
    args: argparse.Namespace, path: Path, fusion: str, reference: str, target: str, fold: int
) -> dict[str, Any]:
    """Which test rows of a fold the fusion and the reference get right."""
    split = {"column": f"fold_{fold}"}
    inputs = {"data.inputs": {"picture": "image", "name": "text"}}
    overrides = {"data.target": target, "evaluation.baselines": False, **inputs, **VARIANTS[fusion], **args.set}
    overrides |= {"data.source": str(path), "data.split": split}
    folder = args.runs / f"final-{fusion}-{target}" / f"fold-{fold}"
    recipe = recipe_of_split(overrides, folder)
    ours = run_of(recipe)["rows"]
    theirs = probes(recipe_of_split({**overrides, **_plain_late(args)}, folder))[reference]
    if ours["row"] != theirs["rows"]:
        raise SystemExit("fusion and reference answered different rows")
    return {"rows": packed(ours["row"]), "fusion": packed(right(ours)), "reference": packed(theirs["right"])}


def _plain_late(args: argparse.Namespace) -> dict[str, Any]:
    """The parts by which references see features: MiniLM and one vector a picture, whatever the fusion needs."""
    return {"model.text": "all-minilm-l6-v2", "model.adapt": "frozen", **VARIANTS["concat"], **args.set}


def recipe_of_split(overrides: dict[str, Any], folder: Path) -> Any:
    """A recipe whose split stands in a column; one seed."""
    return recipe_of(RECIPE, overrides, folder, 0, split_seed=False)


# -- a modality withheld ---------------------------------------------------------------------------


def measure_withheld(args: argparse.Namespace) -> None:
    """Test accuracy of the tuned fusions with picture or name taken away, beside the single-modality models."""
    results = Results(args.results, "fusion_withheld", settings(args))
    table_results = Results(args.results, "fusion_table", settings(args))
    rows = []
    for target in args.targets:
        for variant in [v for v in WITHHELD if v in args.variants]:
            for left, column in (("image only", "picture"), ("text only", "name")):
                found = [
                    results.once(
                        f"{variant}/{target}/{seed}/{column} alone", answer_with, args, variant, target, seed, column
                    )
                    for seed in args.seeds
                ]
                single = [table_results[f"{left}/{target}/{seed}"]["accuracy"] for seed in args.seeds]
                loss = 100 * (mean(single) - mean(found))
                rows.append(
                    [f"{variant}, {target}", f"{column} alone", percent(found), percent(single), f"{loss:+.1f}"]
                )
    head = ["fusion, target", "given at test time", "accuracy, %", "model of that modality only, %", "lost, points"]
    results.write_table(f"# A modality withheld at test time\n\n{table(head, rows)}")


def answer_with(args: argparse.Namespace, variant: str, target: str, seed: int, column: str) -> float:
    """Accuracy on a run's test rows when it is given ``column`` alone."""
    import sensorium
    from sensorium import assets
    from sensorium.data.sources import open_source
    from sensorium.recipe import DataRecipe

    folder = Path(variant_recipe(args, variant, target, seed).output)
    tested = pq.read_table(folder / "predictions.parquet", columns=["row", "target"]).to_pydict()
    source = open_source(DataRecipe(source="emoji"), assets.cache_root() / "tables")
    cells = source.table.select([column]).take(pa.array(tested["row"]))
    answers = sensorium.load(folder).predict(cells)
    return mean(float(str(a) == t) for a, t in zip(answers, tested["target"], strict=True))


def main(arguments: list[str] | None = None) -> None:
    parser = arguments_of(__doc__, "fusion")
    parser.add_argument("--targets", type=lambda text: text.split(","), default=list(TARGETS))
    parser.add_argument("--variants", type=lambda text: text.split(","), default=list(VARIANTS))
    parser.add_argument("--final", action="store_true", help="the one comparison by cross-validation")
    parser.add_argument("--withheld", action="store_true", help="a modality withheld at test time")
    parser.add_argument("--clean", action="store_true", help="remove the runs afterwards")
    args = parser.parse_args(arguments)
    clean_environment()
    given = {"data.max_rows": args.max_rows, "training.epochs": args.epochs}
    args.set = {key: value for key, value in given.items() if value is not None}
    step = measure_final if args.final else measure_withheld if args.withheld else measure_table
    step(args)
    if args.clean:
        shutil.rmtree(args.runs, ignore_errors=True)


if __name__ == "__main__":
    main()
