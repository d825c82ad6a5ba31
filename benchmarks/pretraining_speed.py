"""How fast a GPT-2-style model of 10 M parameters learns text, against two peers; and the memory that long text takes.

    python -m benchmarks.pretraining_speed                    # tokens a second, then memory from 1 MB to 1 GB
    python -m benchmarks.pretraining_speed --only memory      # half of it
    OMP_NUM_THREADS=1 python -m benchmarks.pretraining_speed --clock cpu     # on a machine that is busy with other work
    python -m benchmarks.pretraining_speed --steps 3 --rounds 1 --sizes 1 --results /tmp/x    # to try it

Sensorium is ``sensorium.fit`` of a recipe of task pretrain, timed from step to step, reading its batches included. The peers
train the very model that the recipe builds, on the same tokens, in the same precision, batch and window: a plain PyTorch loop
as nanoGPT's ``train.py`` has it, and ``transformers.Trainer``, whose rows are blocks as ``run_clm.py`` cuts them, or documents
padded to the longest. Only Sensorium and the last of these keep documents apart. Sides take turns, each in a process of its
own; of several rounds the median counts. Text is made up: words with Zipf's frequencies, documents of very different lengths.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, ROOT, Results, clean_environment, integers, table
from benchmarks.pretraining_text import made_up, memory

MODEL = {
    "architecture": "gpt2",
    "width": 320,
    "layers": 6,
    "heads": 5,
    "vocabulary": 8000,
    "window": 256,
    "dropout": 0.0,
}
BATCH = 8
WARM = 2  # steps that are not timed
SPEED_TEXT = 1  # MB
SIDES = {
    "sensorium": "Sensorium",
    "nanogpt": "nanoGPT's loop",
    "trainer": "transformers.Trainer, blocks",
    "trainer-padded": "transformers.Trainer, a document a row",
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("speed", "memory"), help="half of it")
    parser.add_argument("--steps", type=int, default=20, help="steps timed, after two")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--sizes", type=integers, default=[1, 100, 1000], help="MB of text")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: on a busy machine, with one thread"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the task of a process that this one starts, as JSON
    args = parser.parse_args(arguments)
    clean_environment()
    if args.one:
        return work(json.loads(args.one))
    settings = {"model": MODEL, "batch": BATCH, "steps": args.steps, "clock": args.clock}
    results = Results(args.results, "pretraining_speed", settings)
    if args.only != "memory":
        measure_speed(results, args)
    if args.only != "speed":
        for size in args.sizes:
            results.once(f"memory/{size}", in_folder, {"what": "memory", "megabytes": size})
    results.write_table(page(results))


def measure_speed(results: Results, args: argparse.Namespace) -> None:
    """Every side in turn, round after round, over one text and one tokenizer."""
    with tempfile.TemporaryDirectory(prefix="sensorium-pretraining-") as folder:
        in_process({"what": "prepare"}, folder)
        for number in range(args.rounds):
            for precision in args.precisions.split(","):
                for side in SIDES:
                    task = {"what": side, "precision": precision, "steps": args.steps, "clock": args.clock}
                    results.once(f"{precision}/{side}/{number}", in_process, task, folder)


# -- processes -------------------------------------------------------------------------------------


def in_folder(task: dict[str, Any]) -> dict[str, Any]:
    """Do a task in a process and a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="sensorium-pretraining-") as folder:
        return in_process(task, folder)


def in_process(task: dict[str, Any], folder: str) -> dict[str, Any]:
    """Do a task in a process of its own, with its cache in ``folder``."""
    root = Path(folder)
    environment = os.environ | {"SENSORIUM_CACHE": str(root / "cache")}
    command = [sys.executable, "-m", "benchmarks.pretraining_speed", "--one", json.dumps(task | {"folder": folder})]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    found: dict[str, Any] = json.loads((root / "out.json").read_text(encoding="utf-8"))
    return found


def work(task: dict[str, Any]) -> None:
    root = Path(task["folder"])
    if task["what"] == "memory":
        found = memory(root, task["megabytes"])
    elif task["what"] == "prepare":
        found = prepare(root)
    else:
        found = speed(root, task["what"], task["precision"], task["steps"], task["clock"])
    (root / "out.json").write_text(json.dumps(found), encoding="utf-8")


# -- speed -----------------------------------------------------------------------------------------


class Stamps:
    """Times after each step; a ``Progress`` that takes those of the training."""

    def __init__(self, clock: str) -> None:
        self._clock = time.process_time if clock == "cpu" else time.monotonic
        self.times: list[float] = []

    def __call__(self, text: str = "") -> None:
        return None

    def stamp(self) -> None:
        self.times.append(self._clock())

    @contextmanager
    def task(self, name: str, total: int, done: int = 0, unit: str = "") -> Iterator[Any]:
        def advance(count: int = 1, *, total: int | None = None, **facts: float | str) -> None:
            if name == "training":
                self.stamp()

        yield advance

    def seconds(self) -> float:
        """Of a step, on average, after the first ones."""
        return (self.times[-1] - self.times[WARM - 1]) / (len(self.times) - WARM)


def recipe_of(root: Path, steps: int, precision: str) -> Any:
    """The job that is timed."""
    from sensorium.recipe import Recipe

    return Recipe.parse(
        {
            "task": "pretrain",
            "data": {"source": str(root / "text.txt"), "split": {"validation": 0.0, "test": 0.01}},
            "model": {"scratch": MODEL},
            "pretraining": {"objectives": {"causal_lm": 1.0}},
            "training": {
                "max_steps": steps,
                "batch_size": BATCH,
                "precision": precision,
                "learning_rate": 1e-3,
                "weight_decay": 0.1,
            },
            "evaluation": {"bootstrap": 100, "max_rows": 8},
            "tracking": [],
        }
    )


def prepare(root: Path) -> dict[str, Any]:
    """One run of Sensorium for its tokenizer, and its training tokens one after another in a file for the peers."""
    from transformers import AutoTokenizer

    from sensorium.data.text.packing import packed
    from sensorium.jobs.fit import fit
    from sensorium.jobs.pretraining.data import open_texts

    made_up(root / "text.txt", SPEED_TEXT)
    recipe = recipe_of(root, 1, "fp32").model_copy(update={"output": str(root / "first")})
    fit(recipe, progress=Stamps("cpu"))
    tokenizer = AutoTokenizer.from_pretrained(root / "first" / "model")
    mine = open_texts(recipe, Stamps("cpu")).tokens("train", tokenizer, Stamps("cpu"))
    windows = packed(mine.corpus, MODEL["window"], recipe.data.split, "train")  # type: ignore[arg-type]
    documents = [mine.corpus.document(int(number)) for number in mine.numbers()]
    np.concatenate(documents).astype(np.uint16).tofile(root / "tokens.bin")
    np.save(root / "starts.npy", np.cumsum([0, *map(len, documents)]))
    np.save(root / "lengths.npy", windows.lengths)
    return {}


def speed(root: Path, side: str, precision: str, steps: int, clock: str) -> dict[str, Any]:
    """Tokens a second of one side."""
    import torch
    from transformers import AutoTokenizer

    from benchmarks.pretraining_peers import nanogpt, trainer
    from sensorium.jobs.fit import fit
    from sensorium.models.language.scratch import build

    stamps = Stamps(clock)
    recipe = recipe_of(root, WARM + steps, precision)
    window: int = MODEL["window"]  # type: ignore[assignment]
    if side == "sensorium":
        with tempfile.TemporaryDirectory(dir=root) as folder:
            fit(recipe.model_copy(update={"output": f"{folder}/run"}), progress=stamps)
        return result(stamps, BATCH * float(np.load(root / "lengths.npy").mean()))
    torch.manual_seed(0)
    model = build(recipe.model.scratch, AutoTokenizer.from_pretrained(root / "first" / "model"))
    given = (WARM + steps, BATCH, window, precision == "bf16")
    if side == "nanogpt":
        nanogpt(model, root / "tokens.bin", *given, stamps.stamp)
        return result(stamps, BATCH * window)
    padded = side == "trainer-padded"
    read = trainer(model, root / "tokens.bin", root / "starts.npy", *given, padded, root / "trainer", stamps.stamp)
    return result(stamps, read / (WARM + steps))


def result(stamps: Stamps, tokens: float) -> dict[str, Any]:
    return {
        "tokens_per_second": tokens / stamps.seconds(),
        "seconds_per_step": stamps.seconds(),
        "tokens_per_step": tokens,
    }


# -- the page --------------------------------------------------------------------------------------


def page(results: Results) -> str:
    """The tables of what was measured."""
    unit = "tokens / s" if results.settings["clock"] == "wall" else "tokens / CPU s"
    parts = ["# Pretraining: speed and memory\n"]
    for precision in ("fp32", "bf16"):
        found = {side: rates(results, precision, side) for side in SIDES}
        if not all(found.values()):
            continue
        ours = statistics.median(found["sensorium"])
        rows = [
            (
                name,
                f"{statistics.median(found[side]):,.0f}",
                f"{min(found[side]):,.0f} to {max(found[side]):,.0f}",
                f"{ours / statistics.median(found[side]):.2f}",
            )
            for side, name in SIDES.items()
        ]
        parts.append(f"## {precision}\n\n" + table(("side", unit, "rounds", "Sensorium is × as fast"), rows))
    sizes = [key for key in results.values if key.startswith("memory/")]
    if sizes:
        rows = [
            (
                f"{key.partition('/')[2]} MB",
                f"{results[key]['documents']:,}",
                f"{results[key]['tokens']:,}",
                f"{results[key]['start_mb']:.0f}",
                f"{results[key]['most_mb']:.0f}",
                f"{results[key]['cpu_seconds']:.0f}",
            )
            for key in sizes
        ]
        head = ("text", "documents", "tokens", "MB before", "most MB", "CPU s")
        parts.append("## Memory of tokenising, packing and reading\n\n" + table(head, rows))
    return "\n".join(parts)


def rates(results: Results, precision: str, side: str) -> list[float]:
    """Tokens a second of each round."""
    return [v["tokens_per_second"] for key, v in results.values.items() if key.startswith(f"{precision}/{side}/")]


if __name__ == "__main__":
    main()
