"""``sensorium serve``: a run behind HTTP, in the form that OpenAI's clients speak, with a page to talk to it."""

from __future__ import annotations

from typing import Annotated

import typer

from sensorium.cli.console import say
from sensorium.errors import SensoriumError


def serve(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="A run's folder.")] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; others than this machine need a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 8000,
    keys: Annotated[
        str | None, typer.Option("--keys", metavar="FILE", help="Hashes of API keys; also in SENSORIUM_API_KEYS.")
    ] = None,
    new_key: Annotated[
        str | None, typer.Option("--new-key", metavar="NAME", help="Add a key to --keys, print it once, and leave.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The model's name; the run's folder by default.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", metavar="HOST", help="A name of this server; repeatable.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option("--allow-origin", metavar="ORIGIN", help="Whose pages may call; repeatable.")
    ] = None,
    fetch_from: Annotated[
        list[str] | None,
        typer.Option("--fetch-from", metavar="HOST", help="Where pictures may be fetched from by https; repeatable."),
    ] = None,
    together: Annotated[int, typer.Option("--together", min=1, help="Answers that run together.")] = 16,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Requests that wait; beyond, 429.")] = 64,
    context: Annotated[int, typer.Option("--context", min=16, help="Tokens of a prompt and its answer.")] = 2048,
    answer_seconds: Annotated[float, typer.Option("--answer-seconds", min=1, help="A request's deadline.")] = 300.0,
    drain_seconds: Annotated[
        float, typer.Option("--drain-seconds", min=0.1, help="How long answers may finish after SIGTERM.")
    ] = 30.0,
) -> None:
    """Serve a run: OpenAI's API under /v1, a page at /.

    \b
    Examples:
      sensorium serve runs/emoji-ask
      sensorium serve --new-key laptop --keys keys.txt
      sensorium serve runs/emoji-ask --host 0.0.0.0 --keys keys.txt --allow-host ai.example.org
    """
    if new_key is not None:
        if keys is None:
            raise SensoriumError("--new-key needs a file", where="--keys", mend="add --keys FILE")
        from sensorium.jobs.serve import new_key as make_key

        say(make_key(new_key, keys))
        return
    if run is None:
        raise SensoriumError(
            "no run is given", where="sensorium serve", mend="give the folder that sensorium fit printed"
        )
    from sensorium.jobs import serve as job

    job.serve(
        run,
        job.ServeOptions(
            host, port, keys, name, allow_host or [], allow_origin or [], fetch_from or [], together, queue, context,
            answer_seconds, drain_seconds,
        ),
    )  # fmt: skip
