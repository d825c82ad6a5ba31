"""A large catalogue: how fast it is ranked, and what learning it with sampled softmax takes.

    python -m benchmarks.catalogue                  # a million items, 64 wide; a thousand users

**Ranking.** ``tasks.ranking.top_k`` with a bias and with what each user has met left out, against the bare
``(users @ items.T).topk(k)`` without either, in stretches of several sizes, the fastest of which counts. In turns, in one
process; the median of the repeats.

**Memory.** Each size of catalogue in a process of its own: the model is built and takes steps as ``sensorium fit`` takes
them (``tasks.recommend``, ``training.optim``). Measured is the highest resident memory from before the model was built to
the last step, less what was resident before. Of it, three tables of items × width fp32 are the item vectors themselves and
their two moments: no way of learning them by Adam does without. What is left beside them is what should not grow. The same
is measured with dense gradients, as the tables of any torch model have them by default.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, ROOT, Results, clean_environment, integers, table
from benchmarks.curves import status_bytes

MIB = 1 << 20
PEOPLE, MET = 1000, 50  # users, and interactions of each
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--items", type=int, default=1_000_000, help="that are ranked")
    parser.add_argument("--sizes", type=integers, default=[10_000, 100_000, 1_000_000], help="that are learnt")
    parser.add_argument("--users", type=int, default=PEOPLE)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--stretches", type=integers, default=[16, 64, 256], help="users at once, the bare way")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu where the machine has other work")
    parser.add_argument("--one", nargs=2, metavar=("ITEMS", "KIND"), help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    clean_environment()
    if args.one:
        print(json.dumps(learn(int(args.one[0]), args.one[1], args.width, args.steps)))
        return
    named = ("items", "sizes", "users", "width", "top", "stretches", "repeats", "steps", "clock")
    results = Results(args.results, "catalogue", {name: getattr(args, name) for name in named})
    ranking = results.once("ranking", ranked, args)
    memory = {
        kind: {size: results.once(f"{kind}/{size}", in_a_process, size, kind, args) for size in args.sizes}
        for kind in ("by rows", "dense")
    }
    results.write_table(written(args, ranking, memory))


# -- ranking ---------------------------------------------------------------------------------------


def ranked(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each way for all users; ``same``: whether both find the same scores."""
    import torch

    from sensorium.tasks.ranking import top_k

    rng = np.random.default_rng(0)
    items = torch.from_numpy(rng.normal(size=(args.items, args.width)).astype(np.float32))
    users = torch.from_numpy(rng.normal(size=(args.users, args.width)).astype(np.float32))
    bias = torch.from_numpy(rng.normal(size=args.items).astype(np.float32))
    met = rng.integers(args.items, size=(args.users, MET))

    def bare(together: int) -> torch.Tensor:
        return torch.cat([(some @ items.T).topk(args.top, dim=1).values for some in users.split(together)])

    ways: dict[str, Any] = {f"bare, {n} at once": lambda n=n: bare(n) for n in args.stretches}
    ways["top_k"] = lambda: top_k(users, items, args.top)[1]
    ways["top_k, bias, without what was met"] = lambda: top_k(users, items, args.top, bias, met)[1]
    clock, seconds = CLOCKS[args.clock], {name: list[float]() for name in ways}
    found: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        for _ in range(args.repeats):
            for name, way in ways.items():
                began = clock()
                found[name] = way()
                seconds[name].append(clock() - began)
    same = torch.allclose(found["top_k"], found[f"bare, {args.stretches[0]} at once"], rtol=1e-4, atol=1e-4)
    return {"seconds": {name: median(times) for name, times in seconds.items()}, "all": seconds, "same": same}


# -- memory ----------------------------------------------------------------------------------------


def in_a_process(size: int, kind: str, args: argparse.Namespace) -> dict[str, Any]:
    words = ["--one", str(size), kind, "--width", str(args.width), "--steps", str(args.steps)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.catalogue", *words], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def learn(items: int, kind: str, width: int, steps: int) -> dict[str, Any]:
    """Steps of training on invented interactions, whose number does not depend on that of the items."""
    import torch

    from sensorium.data.interactions.arrays import Entities, Interactions
    from sensorium.models.ranking.config import RecommenderConfig
    from sensorium.models.ranking.recommender import Recommender
    from sensorium.recipe import RecommenderRecipe, TrainingRecipe
    from sensorium.tasks.recommend import Recommend, Windows
    from sensorium.training.optim import MasterAdamW, parameter_groups

    rng = np.random.default_rng(0)
    user, item = np.repeat(np.arange(PEOPLE), MET), rng.integers(items, size=PEOPLE * MET)
    people, things = Entities([str(i) for i in range(PEOPLE)]), Entities([str(i) for i in range(items)])
    nothing = np.full(len(user), np.nan, dtype=np.float32)
    inter = Interactions(people, things, user, item, np.arange(len(user), dtype=np.float64), nothing)
    asked = RecommenderRecipe(width=width, loss="sampled", history=MET)
    _warm_up()
    before = _reset_peak()
    counts = np.bincount(item, minlength=items)
    model = Recommender(RecommenderConfig(items=items, users=PEOPLE, width=width, history=MET))
    if kind == "by rows":
        model.tower.learn_by_rows()
    task = Recommend(inter, asked, np.ones(items, dtype=bool), counts / counts.sum())
    windows = Windows(inter, np.arange(len(user)), MET, 0)
    optimizer = MasterAdamW(parameter_groups(model, TrainingRecipe()))
    model.train()
    times = []
    for step in range(steps):
        began = time.process_time()
        units = [(step * 32 + i) % PEOPLE for i in range(32)]
        batch = task.collate([windows[(0, unit)] for unit in units])
        loss = task.loss(model, batch)
        loss.total.backward()
        optimizer.step(1.0, 1 / loss.count, 1.0)
        times.append(time.process_time() - began)
    assert torch.isfinite(loss.total)
    peak, tables = status_bytes("VmHWM") - before, 3 * items * width * 4
    return {"peak": peak, "tables": tables, "beside": peak - tables, "step seconds": median(times)}


def _warm_up() -> None:
    """What a library sets up at its first use is no part of the model's memory."""
    import torch
    from torch import nn

    layer = nn.TransformerEncoderLayer(64, 2, batch_first=True)
    for optimizer in (torch.optim.AdamW(layer.parameters(), fused=True), torch.optim.AdamW(layer.parameters())):
        layer(torch.randn(32, 50, 64)).square().mean().backward()
        optimizer.step()


def _reset_peak() -> int:
    """Forget the highest resident memory so far (Linux); what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_bytes("VmRSS")


# -- the table -------------------------------------------------------------------------------------


def written(args: argparse.Namespace, ranking: dict[str, Any], memory: dict[str, dict[int, dict[str, Any]]]) -> str:
    """Both tables as Markdown."""
    seconds = ranking["seconds"]
    bare = min(value for name, value in seconds.items() if name.startswith("bare"))
    rows = [[name, f"{value:.2f}", f"{value / bare:.2f}"] for name, value in seconds.items()]
    text = [
        "# A large catalogue",
        f"## The first {args.top} of {args.items:,} items × {args.width} for {args.users:,} users",
        f"Seconds ({args.clock} clock, median of {args.repeats}), and as a multiple of the fastest bare way: a matrix "
        f"product and `topk`. Both find the same scores: {'yes' if ranking['same'] else 'NO'}.\n",
        table(["way", "seconds", "× bare"], rows),
        "## Memory of a training step under sampled softmax",
        "MiB above what was resident before the model was built. Tables: item vectors and their two moments, fp32.\n",
        table(
            ["gradients", "items", "peak", "tables", "beside the tables", "seconds a step"],
            [
                [kind, f"{size:,}", *(f"{found[name] / MIB:,.0f}" for name in ("peak", "tables", "beside")),
                 f"{found['step seconds']:.3f}"]
                for kind, sizes in memory.items() for size, found in sizes.items()
            ],
        ),
    ]  # fmt: skip
    return "\n".join(text)


if __name__ == "__main__":
    main()
