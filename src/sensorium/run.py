"""A run's folder: opened, locked, written atomically, validated.

Every file is written beside its place, synced and renamed, so that a reader never sees half of one and a
``kill -9`` at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sensorium.errors import RunError
from sensorium.recipe import Recipe

STAGES = ("prepared", "measured_before", "trained", "measured_after", "reported")


# -- files -----------------------------------------------------------------------------------------


@contextmanager
def written_beside(path: str | Path) -> Iterator[Path]:
    """A new file beside ``path`` to write to; synced and renamed into place at the end, gone after an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    try:
        yield Path(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Write ``data`` beside ``path``, sync it, and rename it into place."""
    with written_beside(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: str | Path, value: Any) -> None:
    """``value`` as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def replace_folder(temporary: str | Path, final: str | Path) -> None:
    """Sync every file of a finished folder and rename it to ``final``; an old ``final`` goes afterwards."""
    temporary, final = Path(temporary), Path(final)
    for file in sorted(temporary.rglob("*")):
        if file.is_file():
            with open(file, "rb+") as opened:
                os.fsync(opened.fileno())
        else:
            _sync_folder(file)
    _sync_folder(temporary)
    old = None
    if final.exists():
        old = final.with_name(f".{final.name}.{os.getpid()}.old")
        os.replace(final, old)
    os.replace(temporary, final)
    _sync_folder(final.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def folder_beside(final: str | Path) -> Iterator[Path]:
    """A new folder beside ``final`` to fill; it takes its place at the end, and is gone after an error."""
    final = Path(final)
    temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-"))
    try:
        yield temporary
        replace_folder(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Hex SHA-256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# -- the run ---------------------------------------------------------------------------------------


class Run:
    """A run's folder and what is known to be finished in it.

    ``run.json`` holds the fingerprint of recipe and data, and the stages that are done. Use ``Run.begin`` to
    start or resume one, ``Run.read`` to look at a finished one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def recipe(self) -> Recipe:
        """The recipe as it ran. A file that was cut short is refused: defaults must not take the place of what it lost."""
        path = self.folder / "recipe.yaml"
        recipe = Recipe.load(path)
        lost = [key for key in Recipe.model_fields if key not in recipe.model_fields_set]
        if lost:
            raise RunError(
                f"recipe.yaml is damaged ({', '.join(lost)} missing)", where=str(path), mend="rerun with --fresh"
            )
        return recipe

    @property
    def metrics(self) -> dict[str, Any]:
        return dict(self.read_json("metrics.json"))

    def read_json(self, name: str) -> Any:
        """The parsed file; a RunError names it when it is missing or damaged."""
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{name} is missing",
                where=str(self.folder),
                mend="run sensorium fit again: it goes on where it stopped",
            ) from None
        except ValueError:
            raise RunError(f"{name} is damaged", where=str(self.folder), mend="rerun with --fresh") from None

    def done(self, stage: str) -> bool:
        """Whether ``stage`` was finished, in this process or an earlier one."""
        return stage in self._state().get("stages", {})

    def finish(self, stage: str, **facts: Any) -> None:
        """Record that ``stage`` is finished, with facts worth keeping (times, counts)."""
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage}; known: {', '.join(STAGES)}")
        state = self._state()
        state.setdefault("stages", {})[stage] = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts}
        write_json(self.folder / "run.json", state)

    def facts(self, stage: str) -> dict[str, Any]:
        """What ``finish`` recorded for ``stage``."""
        return dict(self._state().get("stages", {}).get(stage, {}))

    def log(self, line: str) -> None:
        """Append one line with the time to ``logs/run.log``."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with open(self.logs / "run.log", "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}\n")

    def _state(self) -> dict[str, Any]:
        path = self.folder / "run.json"
        return dict(self.read_json("run.json")) if path.exists() else {}

    # -- opening -----------------------------------------------------------------------------------

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """A run that holds a model; a RunError says so where it does not."""
        run = cls(folder)
        if not run.folder.is_dir():
            raise RunError("no such run", where=str(folder), mend="give the folder that sensorium fit printed")
        if not (run.model / "config.json").is_file():
            raise RunError("holds no trained model", where=str(folder), mend="run sensorium fit to its end")
        return run

    @classmethod
    @contextmanager
    def locked(cls, folder: str | Path) -> Iterator[Run]:
        """Hold the run's lock; RunError at once when another process holds it."""
        run = cls(folder)
        if run.folder.exists() and not run.folder.is_dir():
            raise RunError("is a file, not a folder", where=str(folder), mend="give another --output")
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(run.folder / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                "another process is using this run", where=str(folder), mend="wait for it or give another --output"
            ) from None
        except OSError as error:
            raise RunError(
                f"cannot be written ({error.strerror})", where=str(folder), mend="give another --output"
            ) from None
        try:
            run._sweep()
            yield run
        finally:
            lock.release()

    def _sweep(self) -> None:
        """Remove what a killed process was writing beside; the lock says that nobody is at it."""
        for leftover in [*self.folder.glob(".*.tmp"), *self.folder.glob(".model-*"), *self.folder.glob(".model.*.old")]:
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)

    def begin(self, recipe: Recipe, fingerprint: str) -> None:
        """Claim the folder for ``recipe`` and data of ``fingerprint``, or check that it is theirs already.

        Raises:
            RunError: the folder belongs to another recipe, other data, or something that is no run.
        """
        state = self._state()
        if state.get("stages") or any(self.checkpoints.glob("step-*")):
            self._check_same(state, recipe, fingerprint)
            return
        foreign = [p.name for p in self.folder.iterdir() if p.name != "cache" and not p.name.startswith(".")]
        if foreign and not state:
            raise RunError(
                f"holds files that are no run ({', '.join(sorted(foreign)[:3])})",
                where=str(self.folder),
                mend="give another --output",
            )
        (self.folder / "recipe.yaml").unlink(missing_ok=True)  # of an attempt that got nowhere: nothing to resume
        write_atomic(self.folder / "requested.yaml", recipe.dump())
        write_json(self.folder / "run.json", {"fingerprint": fingerprint, "stages": {}})

    def _check_same(self, state: dict[str, Any], recipe: Recipe, fingerprint: str) -> None:
        # as it was asked for, or as it was written out in full
        known = [p for p in (self.folder / "requested.yaml", self.folder / "recipe.yaml") if p.exists()]
        differences = [Recipe.load(path).difference(recipe) for path in known]
        changed = [[line for line in lines if not line.startswith("output:")] for lines in differences]
        if changed and all(changed):
            changes = changed[0]
            raise RunError(
                f"belongs to another recipe ({'; '.join(changes[:5])})",
                where=str(self.folder),
                mend="add --fresh or give another --output",
            )
        if state.get("fingerprint") != fingerprint:
            raise RunError(
                "the data changed since this run began",
                where=str(self.folder),
                mend="add --fresh or give another --output",
            )

    def set_aside(self) -> Path | None:
        """Move an existing run's files into a dated sibling folder (``--fresh``); the lock stays."""
        entries = [p for p in self.folder.iterdir() if p.name != ".lock"]
        if not entries:
            return None
        aside = self.folder.with_name(f"{self.folder.name}.old-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        aside.mkdir()
        for entry in entries:
            os.replace(entry, aside / entry.name)
        return aside

    def write_recipe(self, recipe: Recipe) -> None:
        """``recipe.yaml``: complete, with what was measured and inferred written out."""
        write_atomic(self.folder / "recipe.yaml", recipe.dump())

    def resolved(self) -> Recipe | None:
        """The recipe of a run that began before, with what was measured and inferred then; else None."""
        return self.recipe if (self.folder / "recipe.yaml").exists() else None
