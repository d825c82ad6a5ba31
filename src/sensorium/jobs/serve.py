"""``serve``: a run behind HTTP, until SIGTERM."""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sensorium.errors import RunError, SensoriumError
from sensorium.run import Run

if TYPE_CHECKING:
    from sensorium.serving.engine.batching import EngineSettings
    from sensorium.serving.service import Parts


@dataclass(frozen=True)
class ServeOptions:
    """How a run is served; see ``sensorium serve --help``."""

    host: str = "127.0.0.1"
    port: int = 8000
    keys: str | None = None
    name: str | None = None
    allow_hosts: list[str] = field(default_factory=list)
    allow_origins: list[str] = field(default_factory=list)
    fetch_from: list[str] = field(default_factory=list)
    together: int = 16
    queue: int = 64
    context: int = 2048
    answer_seconds: float = 300.0
    drain_seconds: float = 30.0


def serve(run: str | Path, options: ServeOptions) -> None:
    """Serve a run; returns when it was told to stop and running answers are finished.

    Raises:
        SensoriumError: the run, a key or an address is wrong; an address that others reach, without a key.
    """
    try:
        import fastapi  # noqa: F401 - whether the extra is there
        import llguidance  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise SensoriumError(
            f"{error.name} is not installed", where="serve", mend="pip install 'sensorium[serve]'"
        ) from None
    from sensorium.serving.door.keys import ENVIRONMENT, keys_of_environment, read_keys
    from sensorium.serving.engine.batching import BatchingEngine, EngineSettings
    from sensorium.serving.server import Server, bind, is_loopback
    from sensorium.serving.settings import FetchLimits, MediaLimits, Settings

    hashes = keys_of_environment(os.environ.get(ENVIRONMENT)) | (read_keys(options.keys) if options.keys else {})
    if not hashes and not is_loopback(options.host):
        raise SensoriumError(
            "an address that other machines reach needs an API key", where=f"--host {options.host}",
            mend="make one with sensorium serve --new-key NAME --keys FILE, and give --keys FILE",
        )  # fmt: skip
    Run.read(run)  # what is wrong with it is said before a port is taken
    start_log()
    sock = bind(options.host, options.port)
    parts, seconds = _open(run, EngineSettings(places=options.together, queue=options.queue, context=options.context))
    settings = Settings(
        name=options.name or _name_of(run),
        hosts=_hosts(options),
        origins=tuple(origin.rstrip("/").lower() for origin in options.allow_origins),
        key_hashes=hashes,
        fetch=FetchLimits(hosts=tuple(host.lower() for host in options.fetch_from)),
        media=MediaLimits(seconds=seconds),
        answer_seconds=options.answer_seconds,
        drain_seconds=options.drain_seconds,
    )
    from sensorium.serving.api import make_app

    Server(make_app(parts, settings), parts.engine, sock).run_to_end()
    if isinstance(parts.engine, BatchingEngine):
        parts.engine.close()
    gc.freeze()  # the interpreter's last collection would walk through all libraries: seconds of the drain limit


def _open(run: str | Path, settings: EngineSettings) -> tuple[Parts, float]:
    """All that a run can answer, and how long a sound may be in s."""
    from sensorium.jobs.drawing.opened import OpenedDrawer
    from sensorium.jobs.drawing.serving import make_drawing_parts
    from sensorium.jobs.load import load
    from sensorium.jobs.opened import Model
    from sensorium.jobs.recommend import OpenedRecommender
    from sensorium.jobs.serving_parts import make_parts
    from sensorium.jobs.translation.gpt import GptTranslator
    from sensorium.jobs.translation.opened import OpenedTranslator
    from sensorium.jobs.translation.serving import make_translation_parts
    from sensorium.serving.settings import MediaLimits

    model, seconds = load(run), MediaLimits().seconds
    match model:
        case OpenedTranslator() | GptTranslator():
            return make_translation_parts(model, settings), seconds
        case OpenedDrawer():
            return make_drawing_parts(model), seconds
        case Model():
            return make_parts(model, settings), model.processor.settings.max_seconds
        case OpenedRecommender():
            return make_parts(model, settings), seconds
    raise RunError(
        "the run turns pictures into codes, and answers nothing by itself",
        where=str(run),
        mend="name it as drawing.tokenizer of a recipe with task: draw, and serve that run",
    )


def new_key(name: str, path: str | Path) -> str:
    """A new API key, whose hash is added to a file; see ``serving.keys.make_key``."""
    from sensorium.serving.door.keys import make_key

    return make_key(name, path)


def _name_of(run: str | Path) -> str:
    """A run's folder as the name of its model."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", Path(run).resolve().name) or "sensorium"


def _hosts(options: ServeOptions) -> tuple[str, ...]:
    """What the Host header may say: this machine's own names, the address listened to, and what is allowed beside."""
    own = options.host if ":" not in options.host or options.host.startswith("[") else f"[{options.host}]"
    wide = own in ("0.0.0.0", "[::]")
    names = ["127.0.0.1", "localhost", "[::1]", *([] if wide else [own]), *options.allow_hosts]
    return tuple(dict.fromkeys(name.lower() for name in names))


def start_log() -> None:
    """One line a request on stderr; uvicorn speaks of warnings alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    ours = logging.getLogger("sensorium.serving")
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(logging.INFO)
    theirs = logging.getLogger("uvicorn")
    theirs.handlers, theirs.propagate = [handler], False
    theirs.setLevel(logging.ERROR)
