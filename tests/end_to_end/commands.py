"""The command line called in this process or in one of its own, and the flags that make any job tiny."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sensorium.cli.main import run

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
QUICK = {  # nothing is measured, nothing repeated: what every small job here starts from
    "training.precision": "fp32",
    "training.attention": "sdpa",
    "training.batch_size": 8,
    "evaluation.bootstrap": 100,
    "evaluation.max_new_tokens": 4,
    "model.image_size": 32,
    "model.fusion.tokens": 4,
    "model.fusion.width": 16,
    "tracking": "[]",
}


@dataclass
class Said:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The error: the only line of its kind, and the last."""
        lines = self.err.strip().splitlines()
        errors = [line for line in lines if line.startswith(("error: ", "defect: "))]
        assert len(errors) == 1 and lines[-1] == errors[0], self.err
        return errors[0]


def call(*words: str | Path) -> Said:
    """One command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(word) for word in words])
    return Said(code, out.getvalue(), err.getvalue())


def done(*words: str | Path) -> Said:
    """One command line that must succeed."""
    said = call(*words)
    assert said.code == 0, said.err[-3000:]
    return said


def sets(*settings: Mapping[str, object]) -> list[str]:
    """``{"training.epochs": 1}`` as ``--set`` words; later settings replace earlier ones."""
    merged: dict[str, object] = {}
    for each in settings:
        merged |= each
    return [word for key, value in merged.items() for word in ("--set", f"{key}={value}")]


def tiny(parts: Mapping[str, Path], **others: object) -> dict[str, object]:
    """Settings for the tiny parts; ``others`` use two underscores for a dot."""
    named = {"model.backbone": parts["llama"], "model.image": parts["vit"], "model.audio": parts["whisper"]}
    return QUICK | named | {key.replace("__", "."): value for key, value in others.items()}


def command(*words: str | Path) -> list[str]:
    """The words of a process of its own."""
    return [sys.executable, "-m", "sensorium.cli.main", *(str(word) for word in words)]


def environment(cache: Path | None = None, **more: str) -> dict[str, str]:
    """This environment with one thread, the source tree and (where given) another cache."""
    path = os.pathsep.join([SOURCE, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    found = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | more
    return found | ({"SENSORIUM_CACHE": str(cache)} if cache else {})


def new_process(words: list[str], cache: Path | None = None, timeout: float = 120, **more: str) -> Said:
    """Run ``words`` as a process and wait for it."""
    found = subprocess.run(
        words, env=environment(cache, **more), capture_output=True, text=True, timeout=timeout, check=False
    )
    return Said(found.returncode, found.stdout, found.stderr)
