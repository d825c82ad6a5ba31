"""``sensorium recommend``: what a user may like next."""

from __future__ import annotations

from typing import Annotated

import typer

from sensorium.cli.console import Progress, one_json_object, say, show
from sensorium.errors import SensoriumError


def recommend(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder.")],
    user: Annotated[str | None, typer.Option("--user", metavar="U", help="A user's id.")] = None,
    history: Annotated[
        str | None,
        typer.Option("--history", metavar='"A; B"', help="Ids or titles of what a visitor liked, oldest first."),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="K", help="How many.")] = 10,
    because: Annotated[bool, typer.Option("--because", help="Also what moved each score.")] = False,
    diversity: Annotated[
        float, typer.Option("--diversity", metavar="X", help="0 (as ranked) to 1 (as unlike as can be).")
    ] = 0.0,
    freshness: Annotated[
        float, typer.Option("--freshness", metavar="X", help="0 (as ranked) to 1 (the newest items first).")
    ] = 0.0,
    seen: Annotated[bool, typer.Option("--seen/--unseen", help="Whether what was met may come again.")] = False,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Lists of all users, to this Parquet file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Recommend to a user of the run, or to a visitor with a history.

    \b
    Examples:
      sensorium recommend runs/movielens --user 42 --because
      sensorium recommend runs/movielens --history "Toy Story; Star Wars" --diversity 0.3 --freshness 0.2
      sensorium recommend runs/movielens --out lists.parquet
    """
    if sum(given is not None for given in (user, history, out)) != 1:
        raise SensoriumError("say for whom", mend="give one of --user, --history and --out")
    if out is not None and not out.lower().endswith(".parquet"):
        raise SensoriumError("unknown kind of file", where=f"--out {out}", mend="end its name in .parquet")
    with one_json_object(as_json) as emit:
        from sensorium.jobs.ranking.lists import write_lists
        from sensorium.jobs.recommend import OpenedRecommender

        opened = OpenedRecommender(run)
        if out is not None:
            count = write_lists(opened, out, top, Progress())
            emit({"users": count, "out": out})
            if not as_json:
                say(f"the first {top} items of {count:,} users are in {out}")
            return
        titles = None if history is None else [one for one in history.split(";") if one.strip()]
        found = opened.recommend(
            titles,
            user=user,
            top=top,
            because=because,
            diversity=diversity,
            freshness=freshness,
            exclude_seen=not seen,
        )
        emit(found.to_dict())
    if as_json:
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("title", overflow="fold")
    table.add_column("score", justify="right")
    if because:
        table.add_column("because of", overflow="fold")
    for place, item in enumerate(found.items, 1):
        told = ((one.name if one.kind == "history" else f"({one.name})", one.fall) for one in item.reasons[:3])
        why = ", ".join(f"{what} {fall:+.2f}" for what, fall in told)
        table.add_row(str(place), item.title, f"{item.score:.2f}", *([why] if because else []))
    show(table)
    for note in found.notes:
        say(note)
