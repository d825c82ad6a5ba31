"""``sensorium evaluate``: a finished run's metrics, on its own test rows or on other data."""

from __future__ import annotations

from typing import Annotated

import typer

from sensorium.cli.console import one_json_object, show


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="FILE", help="Other data with the same columns; the run's test rows by default."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")] = False,
) -> None:
    """Measure a trained model, with 95 % confidence intervals.

    \b
    Examples:
      sensorium evaluate runs/listings-label
      sensorium evaluate runs/listings-label --data more.csv --json
    """
    with one_json_object(as_json) as emit:
        from sensorium.jobs import evaluate as job

        metrics = job.evaluate(run, data=data)
        emit(metrics)
        if not as_json:
            from sensorium.evaluation.table import everything

            show(everything(metrics))
