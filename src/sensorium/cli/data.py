"""``sensorium data``: what is wrong with data, and one example as the model will see it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.console import Progress, one_json_object, say, show

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _data(context: typer.Context) -> None:
    """Say what is wrong with data, or show what the model sees of it.

    \b
    Examples:
      sensorium data check listings.csv --target label
      sensorium data show recipes/emoji-ask.yaml --row 7
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("check")
def check(
    source: Annotated[str, typer.Argument(metavar="FILE|RECIPE", help="Data, or a recipe (.yaml) that names it.")],
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="COLUMN", help="The column to predict: checks balance and leakage too."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")] = False,
) -> None:
    """Say what is wrong with data. Changes nothing.

    Unreadable media, duplicates within and across splits, empty text, leakage of the target, imbalance.

    \b
    Examples:
      sensorium data check listings.csv --target label
      sensorium data check recipes/emoji-ask.yaml --json
    """
    from sensorium.recipe import DataRecipe, Recipe

    if Path(source).suffix.lower() in (".yaml", ".yml"):
        described: Recipe | str = Recipe.load(source, overrides=[f"data.target={target}"] if target else None)
    else:
        described = Recipe(data=DataRecipe(source=source, target=target)) if target else source
    with one_json_object(as_json) as emit:
        from sensorium.jobs import inspect as job

        report = job.check_data(described, progress=Progress())
        emit(report.to_dict())
        if not as_json:
            for line in report.lines():
                say(line)


@app.command("show")
def show_(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).")],
    row: Annotated[int, typer.Option("--row", min=0, help="Which row, counted from 0.")] = 0,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe's value; repeatable.")
    ] = None,
) -> None:
    """Show one example as the model sees it.

    Media blocks, text tokens, and which of them are supervised.

    \b
    Example:
      sensorium data show recipes/emoji-ask.yaml --row 7
    """
    from sensorium.recipe import Recipe

    described = Recipe.load(recipe, overrides=sets)
    from sensorium.jobs import inspect as job

    show(job.show_example(described, row))
