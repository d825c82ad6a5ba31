"""``sensorium predict``: a trained model's answers for the rows of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.console import Progress, say
from sensorium.errors import SensoriumError

FORMATS = (".csv", ".jsonl", ".parquet")


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder.")],
    data: Annotated[
        str, typer.Option("--data", metavar="FILE", help="Rows to answer; the target column may be absent.")
    ],
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Where answers go: .csv, .jsonl or .parquet.")],
    top: Annotated[
        int | None, typer.Option("--top", metavar="K", help="How many items, where the run recommends (10).")
    ] = None,
) -> None:
    """Answer every row of a file.

    \b
    Examples:
      sensorium predict runs/listings-label --data new.csv --out answers.csv
      sensorium predict runs/movielens --data users.csv --out lists.parquet --top 20
    """
    if Path(out).suffix.lower() not in FORMATS:
        raise SensoriumError("unknown kind of file", where=f"--out {out}", mend=f"end its name in {', '.join(FORMATS)}")
    if Path(out).resolve() == Path(data).resolve():
        raise SensoriumError("--out would overwrite --data", where=out, mend="give another --out")
    from sensorium.jobs import predict as job

    rows = job.predict_file(run, data, out, progress=Progress(), top=top)
    say(f"{rows:,} {'row' if rows == 1 else 'rows'} answered in {out}")
