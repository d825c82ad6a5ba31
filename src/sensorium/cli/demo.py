"""``sensorium demo``: the main job on real bundled data, fitted to the machine's measured speed."""

from __future__ import annotations

from typing import Annotated

import typer

from sensorium.cli.console import Progress, one_json_object
from sensorium.cli.fit import result_object, show_result


def demo(
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.1, help="How long it may take after downloads; training is cut to fit.")
    ] = 8,
    output: Annotated[str | None, typer.Option("--output", metavar="FOLDER", help="The run's folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")] = False,
) -> None:
    """Teach a real GPT to answer questions about real pictures, and show how much it learned.

    \b
    Example:
      sensorium demo --minutes 5
    """
    with one_json_object(as_json) as emit:
        from sensorium.jobs import demo as job

        result = job.demo(minutes=minutes, output=output, progress=Progress())
        emit(result_object(result))
        if not as_json:
            show_result(result)
