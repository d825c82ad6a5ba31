"""``sensorium assets``: pretrained parts and bundled data, their size, licence and state."""

from __future__ import annotations

from typing import Annotated

import typer

from sensorium.cli.console import Progress, one_json_object, say, table
from sensorium.errors import AssetError

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _assets(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")] = False,
) -> None:
    """List pretrained parts and bundled data sets with size, licence and state; fetch and verify them.

    Parts are fetched once, checked against a pinned hash, and cached; after that nothing needs a network.

    \b
    Examples:
      sensorium assets
      sensorium assets pull smollm2-135m-instruct
      sensorium assets verify
    """
    if context.invoked_subcommand is None:
        _list(as_json)


@app.command("pull")
def pull(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Which; see sensorium assets.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every asset.")] = False,
) -> None:
    """Fetch assets, verify their hashes, and cache them.

    \b
    Examples:
      sensorium assets pull emoji efficientnet-lite0
      sensorium assets pull --all
    """
    from sensorium.assets.catalogue import CATALOGUE

    if bool(names) == everything:
        raise AssetError("say which to pull", mend="name some, or give --all (sensorium assets lists them)")
    from sensorium.assets import store

    progress = Progress()
    for name in list(CATALOGUE) if everything else dict.fromkeys(names or []):
        say(f"{name}: {store.pull(name, progress=progress)}")


@app.command("verify")
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Which; every cached one by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")] = False,
) -> None:
    """Read cached assets whole and check their hashes; exit 2 if one is damaged.

    \b
    Examples:
      sensorium assets verify
      sensorium assets verify emoji
    """
    from sensorium.assets import store

    cached = {state.asset.name: state for state in store.states() if state.state != "absent"}
    with one_json_object(as_json) as emit:
        wrong = {name: store.verify(name) for name in dict.fromkeys(names or cached)}
        emit({"damaged": wrong})
        if not as_json:
            for name, files in wrong.items():
                say(f"{name}: {'damaged: ' + ', '.join(files) if files else 'sound'}")
    for name in [name for name, files in wrong.items() if files]:
        mend = f"remove that folder, then sensorium assets pull {name}"
        raise AssetError(f"{name} is damaged", where=str(cached[name].path), mend=mend)


def _list(as_json: bool) -> None:
    from sensorium.assets import store

    states = store.states()
    with one_json_object(as_json) as emit:
        entries = [
            {
                "name": state.asset.name,
                "kind": state.asset.kind,
                "summary": state.asset.summary,
                "licence": state.asset.licence,
                "state": state.state,
                "bytes": state.size_bytes,
                "path": str(state.path),
            }
            for state in states
        ]
        emit({"cache": str(store.cache_root()), "assets": entries})
        if not as_json:
            rows = [
                [s.asset.name, s.asset.kind, f"{s.size_bytes / 1e6:,.1f}", s.asset.licence, s.state] for s in states
            ]
            table("", ["asset", "kind", "MB", "licence", "state"], rows)
            say(f"cache: {store.cache_root()}")
