"""``sensorium evaluate``: a finished run's metrics, on its own test rows or on other data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from sensorium.cli.console import one_json_object, say, show, table
from sensorium.errors import SensoriumError


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="FILE", help="Other data with the same columns; the run's test rows by default."
        ),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Of a translator: what pictures are worth, with words hidden.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")] = False,
) -> None:
    """Measure a trained model, with 95 % confidence intervals.

    \b
    Examples:
      sensorium evaluate runs/listings-label
      sensorium evaluate runs/listings-label --data more.csv --json
      sensorium evaluate runs/emoji-names --probe
    """
    if probe and data is not None:
        raise SensoriumError("--probe and --data exclude each other", mend="give one of them")
    with one_json_object(as_json) as emit:
        if probe:
            _probe(run, emit, as_json)
            return
        from sensorium.jobs import evaluate as job

        metrics = job.evaluate(run, data=data)
        emit(metrics)
        if not as_json:
            from sensorium.evaluation.table import everything

            show(everything(metrics))


def _probe(run: str, emit: Callable[[dict[str, Any]], None], as_json: bool) -> None:
    from sensorium.jobs.translation.probe import probe_run

    found = probe_run(run)
    emit(found)
    if as_json:
        return
    from sensorium.evaluation.probe_table import PROBE_COLUMNS, probe_findings, probe_rows
    from sensorium.evaluation.verdict import label

    table(f"{label(found['primary'])} with words of the source hidden, by picture", PROBE_COLUMNS, probe_rows(found))
    for line in [*probe_findings(found), *found["notes"]]:
        say(line)
