"""``sensorium serve``: what is wrong is said in one line, before a model is loaded."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sensorium.run import sha256_text


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSORIUM_API_KEYS", raising=False)


@pytest.fixture
def run_folder(tmp_path: Path) -> str:
    """What looks like a run until it is opened."""
    (tmp_path / "r/model").mkdir(parents=True)
    (tmp_path / "r/model/config.json").write_text("{}")
    return "r"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "ai.example.org", ""])
def test_another_address_without_a_key_is_refused(sensorium: Callable[..., Any], run_folder: str, host: str) -> None:
    said = sensorium("serve", run_folder, "--host", host)
    assert said.code == 2
    assert "needs an API key" in said.line and "--new-key" in said.line


def test_there_must_be_a_run(sensorium: Callable[..., Any]) -> None:
    said = sensorium("serve", "nowhere")
    assert (said.code, said.line) == (2, "error: nowhere: no such run; give the folder that sensorium fit printed")
    assert sensorium("serve").code == 2


def test_a_port_that_is_taken(sensorium: Callable[..., Any], run_folder: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = sensorium("serve", run_folder, "--port", str(taken.getsockname()[1]))
    assert said.code == 2 and "cannot listen there" in said.line and "--port" in said.line


def test_a_new_key_is_printed_once_and_kept_as_a_hash(sensorium: Callable[..., Any], tmp_path: Path) -> None:
    said = sensorium("serve", "--new-key", "laptop", "--keys", "keys.txt")
    key = said.out.strip()
    assert said.code == 0 and key.startswith("sk-")
    assert (tmp_path / "keys.txt").read_text() == f"laptop:{sha256_text(key)}\n"
    assert "has a key already" in sensorium("serve", "--new-key", "laptop", "--keys", "keys.txt").line
    assert "--keys" in sensorium("serve", "--new-key", "laptop").line


def test_keys_must_be_hashes_and_long(
    sensorium: Callable[..., Any], run_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys.txt").write_text("laptop:sk-in-clear\n")
    said = sensorium("serve", run_folder, "--keys", "keys.txt")
    assert said.code == 2 and "line 1" in said.line and "sk-in-clear" not in said.line
    monkeypatch.setenv("SENSORIUM_API_KEYS", "short")
    assert "shorter than 16" in sensorium("serve", run_folder).line
