"""``sensorium fit``: prepare, measure, train, measure again, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.console import Progress, one_json_object, say, show, table
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.recipe import Recipe

# What a person may hand over in the recipe's place by mistake.
DATA_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow", ".feather", ".gz")
TASKS = ("classify", "generate")


def fit(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="FILE", help="A table, folder or glob; twice for parallel text."),
    ] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="COLUMN", help="The column to predict.")] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="COLUMN=TYPE", help="Override an inferred column type; repeatable."),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="classify or generate; inferred from the target.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe's value; repeatable.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="N,N,…", help="One run a seed, and a summary.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Move an earlier run aside and start anew.")] = False,
    output: Annotated[str | None, typer.Option("--output", metavar="FOLDER", help="The run's folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")] = False,
) -> None:
    """Prepare, test, train, test again, and report.

    The same command again goes on where it stopped; a finished run prints where its report is.

    \b
    Examples:
      sensorium fit --data listings.csv --target label
      sensorium fit recipes/emoji-ask.yaml --set training.epochs=1
      sensorium fit --data photos/ --output runs/photos --seeds 0,1,2
      sensorium fit --data t.csv --target y --input zip=category --task classify
    """
    numbers = parse_seeds(seeds)
    with one_json_object(as_json) as emit:
        job = read_job(recipe, data, target, inputs, task, sets, output)
        from sensorium.jobs import fit as fit_job

        result = fit_job.fit(job, fresh=fresh, seeds=numbers, progress=Progress())
        emit(result_object(result))
        if not as_json:
            show_result(result)


def read_job(
    recipe: str | None,
    data: list[str] | None,
    target: str | None,
    inputs: list[str] | None,
    task: str | None,
    sets: list[str] | None,
    output: str | None,
) -> Recipe:
    """The recipe that the flags describe: read from a file, or inferred from data.

    Raises:
        SensoriumError: flags exclude each other or are missing; RecipeError and DataError pass through.
    """
    if task is not None and task not in TASKS:
        raise SensoriumError(f"no task {task!r}", where="--task", mend=f"give {' or '.join(TASKS)}")
    if recipe is not None:
        if data:
            raise SensoriumError("a recipe and --data exclude each other", mend="use --set data.source=FILE")
        if target:
            raise SensoriumError("a recipe and --target exclude each other", mend=f"use --set data.target={target}")
        if inputs:
            raise SensoriumError("a recipe and --input exclude each other", mend="use --set data.inputs.COLUMN=TYPE")
        if Path(recipe).is_dir() or recipe.lower().endswith(DATA_SUFFIXES):
            raise SensoriumError(
                "looks like data, not like a recipe",
                where=recipe,
                mend=f"write sensorium fit --data {recipe} --target COLUMN",
            )
        from sensorium.recipe import Recipe

        overrides = [*(sets or []), *([f"task={task}"] if task else [])]
        loaded = Recipe.load(recipe, overrides=overrides)
        if output:
            loaded.output = output
        return loaded
    if not data:
        raise SensoriumError("nothing to fit", mend="give a recipe file, or --data FILE and --target COLUMN")
    types = parse_inputs(inputs)
    from sensorium.jobs import fit as fit_job

    described: Recipe = fit_job.infer_recipe(
        data=data[0] if len(data) == 1 else data,
        target=target,
        inputs=types,
        task=task or "auto",
        overrides=sets or [],
        output=output,
    )
    return described


def parse_inputs(words: list[str] | None) -> dict[str, str] | None:
    """``["zip=category"]`` as ``{"zip": "category"}``; the last equals sign parts, as a column may hold one."""
    if not words:
        return None
    types: dict[str, str] = {}
    for word in words:
        column, equals, kind = word.rpartition("=")
        if not equals or not column or not kind:
            raise SensoriumError(
                f"{word!r} is not COLUMN=TYPE", where="--input", mend="write for example --input zip=category"
            )
        types[column] = kind
    return types


def parse_seeds(text: str | None) -> list[int] | None:
    """``"0,1,2"`` as numbers; None stays None."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise SensoriumError(
            f"{text!r} is no list of seeds", where="--seeds", mend="write whole numbers: --seeds 0,1,2"
        )
    numbers = [int(word) for word in words]
    if len(set(numbers)) < len(numbers):
        raise SensoriumError(f"{text!r} names a seed twice", where="--seeds", mend="name each once")
    if max(numbers) >= 2**32:
        raise SensoriumError(f"{max(numbers)} is too large a seed", where="--seeds", mend="stay below 4294967296")
    return numbers


def result_object(result: Any) -> dict[str, Any]:
    """A FitResult as the one JSON object of ``--json``."""
    return {
        "run": str(result.folder),
        "report": str(result.report),
        "finished_before": bool(result.finished_before),
        "metrics": result.metrics,
    }


def show_result(result: Any) -> None:
    """The before/after table and the report's path; for a run that was finished before, the path alone."""
    if result.finished_before:
        say("finished before; --fresh starts anew")
    elif "seeds" in result.metrics:
        show_seeds(result.metrics)
    else:
        from sensorium.evaluation.table import everything

        show(everything(result.metrics))
    say(f"report: {result.report}")


def show_seeds(summary: dict[str, Any]) -> None:
    """Mean ± standard deviation over seeds of every metric that all of them have."""
    columns = [(name, summary[name]) for name in ("before", "after") if name in summary]
    columns += list(summary.get("baselines", {}).items())
    rows = [
        [metric, *(_spread(measures.get(metric)) for _, measures in columns)] for metric in summary.get("after", {})
    ]
    table(f"seeds {', '.join(map(str, summary['seeds']))}", ["metric", *(name for name, _ in columns)], rows)


def _spread(entry: Any) -> str:
    if not isinstance(entry, dict) or "mean" not in entry:
        return "–"
    return f"{entry['mean']:.4g}" + (f" ± {entry['sd']:.2g}" if entry["sd"] is not None else "")
