"""A million text rows: the first step comes soon, and memory does not grow with the number of rows.

Memory is the anonymous memory of the whole process tree, looked at fifty times a second from outside: pages of mapped
files belong to the system, which takes them back when it needs them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.end_to_end.commands import command, environment, sets, tiny

MANY, FEW = 1_000_000, 10_000
FIRST_STEP_SECONDS = 60.0
GROWTH = 1.3
WORDS = ("a", "red", "blue", "green", "circle", "square", "stands", "under", "over", "beside", "the", "old", "new")
LABELS = ("yes", "no", "maybe")

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]


@dataclass
class Watched:
    """What was seen of a job from outside: seconds from its start to the first step's checkpoint, and peak bytes."""

    first_step: float
    peak: int
    peak_before_first_step: int
    seconds: float


def write_table(path: Path, rows: int, target: str) -> Path:
    """``text`` of eight words and a number, all different; ``label`` of three values or ``reply`` of three words."""
    draw = np.random.default_rng(rows)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"text,{target}\n")
        for start in range(0, rows, 10_000):
            words = draw.integers(len(WORDS), size=(10_000, 11)).tolist()
            for row, picked in enumerate(words[: rows - start], start):
                text = " ".join(WORDS[i] for i in picked[:8])
                answer = LABELS[picked[8] % 3] if target == "label" else " ".join(WORDS[i] for i in picked[8:])
                file.write(f"{text} {row},{answer}\n")
    return path


def watch(words: list[str], folder: Path, cache: Path, log: Path) -> Watched:
    """Run a command to its end, looking at its memory and for its first checkpoint, which is written behind step 1."""
    began = time.monotonic()
    first_step, peak, before = None, 0, 0
    with open(log, "w", encoding="utf-8") as out:
        process = subprocess.Popen(words, env=environment(cache), stdout=out, stderr=out)
        try:
            while process.poll() is None:
                peak = max(peak, anonymous(process.pid))
                if first_step is None and any((folder / "checkpoints").glob("step-*/manifest.json")):
                    first_step, before = time.monotonic() - began, peak
                time.sleep(0.02)
        finally:
            process.kill()
    assert process.returncode == 0, log.read_text(encoding="utf-8")[-3000:]
    assert first_step is not None
    return Watched(first_step, peak, before, time.monotonic() - began)


def anonymous(pid: int) -> int:
    """Anonymous memory of a process and its children, in bytes."""
    try:
        process = psutil.Process(pid)
        return sum(_anonymous(one.pid) for one in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def _anonymous(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0)


def fit(parts: dict[str, Path], folder: Path, rows: int, target: str) -> Watched:
    """``sensorium fit`` on a new table, every default of data and evaluation kept, for twenty steps."""
    folder.mkdir()
    data = write_table(folder / "t.csv", rows, target)
    settings = sets(tiny(parts, training__max_steps=20, training__checkpoint_every=1))
    run = folder / "run"
    words = command("fit", "--data", data, "--target", target, "--output", run, *settings)
    found = watch(words, run, folder / "cache", folder / "log.txt")
    print(f"{rows:,} rows, {target}: {found}")
    return found


@pytest.mark.parametrize("target", ["label", "reply"])
def test_a_million_rows_start_soon_and_take_no_more_memory(parts: dict[str, Path], tmp_path: Path, target: str) -> None:
    few = fit(parts, tmp_path / "few", FEW, target)
    many = fit(parts, tmp_path / "many", MANY, target)
    told = f"{few.peak / 2**20:.0f} MiB for {FEW:,} rows, {many.peak / 2**20:.0f} MiB for {MANY:,}"
    assert many.peak <= GROWTH * few.peak, told
    assert many.first_step <= FIRST_STEP_SECONDS, f"{many.first_step:.0f} s"
