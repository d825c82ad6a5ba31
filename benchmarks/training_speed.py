"""``emoji-ask`` with Sensorium against the same job with ``transformers.Trainer`` and PEFT.

    python -m benchmarks.training_speed                 # what each means brings, then every side and seed, then the table
    python -m benchmarks.training_speed --only rates    # what each means brings
    python -m benchmarks.training_speed --max-rows 300 --peer-epochs 1 --seeds 0 --results /tmp/x   # to try it

Both sides have the same pretrained parts, rows, split, features, bf16 weights and chat template. The peer runs twice:
with the libraries' defaults, and tuned by hand. Each run is a process of its own with an empty cache (assets apart),
so that features, trunk and Sensorium's look at the machine are on the clock; steps are timed over the user's own
cache. Validation loss is measured on the same rows by the same formula every so many rows; the clock stands still
meanwhile, on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, Results, clean_environment, integers, mean, table
from benchmarks.curves import best, reaches

# Cumulative: each line adds one means to the line before.
PEER_RATES: dict[str, dict[str, Any]] = {
    "Trainer + PEFT as they come": {},
    "the same with autocast (bf16=True)": {"autocast": True},
    "+ eager attention": {"attention": "eager"},
    "+ bf16 adapters": {"attention": "eager", "adapters": "bf16"},
    "… with sdpa": {"adapters": "bf16"},
    "+ logits at supervised positions": {"attention": "eager", "adapters": "bf16", "supervised_only": True},
    "… with sdpa, logits at supervised positions": {"adapters": "bf16", "supervised_only": True},
}
LORA_ALL = {
    "model.fusion": {"kind": "tokens", "from_layer": 0, "tokens": 16},
    "model.adapt": {"method": "lora", "rank": 8},
}
LORA_TOP = {"model.adapt": {"method": "lora", "rank": 8, "layers": 3}}
OUR_RATES: dict[str, dict[str, Any]] = {
    "Sensorium's loop, the same job": {**LORA_ALL, "training.share_media": False},
    "+ shared picture": LORA_ALL,
    "+ entering at layer 27, trunk cached, LoRA above": LORA_TOP,
    "+ full tuning above instead of LoRA (the recipe)": {},
}
SIDES = ("defaults", "tuned", "sensorium")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=integers, default=[0, 1, 2])
    parser.add_argument("--only", choices=("rates", "runs"), help="half of it")
    parser.add_argument("--rate-steps", type=int, default=12, help="steps timed of each variant, after two")
    parser.add_argument("--every", type=int, default=1000, help="training rows between two measurements of the loss")
    parser.add_argument("--peer-epochs", type=float, default=3.0)
    parser.add_argument("--peer-learning-rate", type=float, default=5e-4)
    parser.add_argument("--max-minutes", type=float, help="of a peer's training; its schedule is made to fit")
    parser.add_argument("--max-rows", type=int, help="a smaller table, to try the script")
    parser.add_argument("--epochs", type=float, help="Sensorium's epochs; the recipe's by default")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the task of a process that this one starts, as JSON
    args = parser.parse_args(arguments)
    clean_environment()
    if args.one:
        return work(json.loads(args.one))
    small = {"data.max_rows": args.max_rows, "training.epochs": args.epochs}
    overrides = {key: value for key, value in small.items() if value is not None}
    peer = {"epochs": args.peer_epochs, "learning_rate": args.peer_learning_rate, "max_minutes": args.max_minutes}
    settings = {"recipe": "emoji-ask", "set": overrides, "every": args.every, "peer": peer}
    results = Results(args.results, "training_speed", settings)
    measure_rates(results, args, overrides)
    if args.only != "rates":
        measure_runs(results, args, overrides)
    results.write_table(page(results, args.seeds))


def measure_rates(results: Results, args: argparse.Namespace, overrides: dict[str, Any]) -> None:
    """Time a few steps of every variant, and bare matrix products of the model's shapes."""
    shared = {"overrides": overrides, "steps": args.rate_steps, "seed": args.seeds[0]}
    for name, setup in PEER_RATES.items():
        results.once(f"rate/{name}", in_process, {"what": "peer_rate", "setup": setup, **shared})
    for name, more in OUR_RATES.items():
        task = {**shared, "what": "sensorium_rate", "overrides": {**overrides, **more}}
        results.once(f"rate/{name}", in_process, task)
    for name in ("Trainer + PEFT as they come", list(OUR_RATES)[-1]):
        found = results[f"rate/{name}"]
        task = {"what": "bare_rate", "tokens": found["tokens"], "supervised": found["supervised"]}
        results.once(f"bare/{name}", in_process, task)


def measure_runs(results: Results, args: argparse.Namespace, overrides: dict[str, Any]) -> None:
    """Every side and seed to the end of its schedule."""
    for seed in args.seeds:
        for side in SIDES:
            task: dict[str, Any] = {"seed": seed, "overrides": overrides, "every_rows": args.every}
            if side == "sensorium":
                task |= {"what": "sensorium_job"}
            else:
                setup = peer_setup(results, side)
                pace = results[f"rate/{rate_name(setup)}"]
                steps = peer_steps(args.peer_epochs, args.max_minutes, pace)
                schedule = {"steps": steps, "learning_rate": args.peer_learning_rate}
                task |= {"what": "peer_job", "setup": setup, "schedule": schedule}
            results.once(f"run/{side}/{seed}", in_process, task)


def peer_setup(results: Results, side: str) -> dict[str, Any]:
    """A peer's setup. Defaults: with or without autocast, whichever is faster here; tuned: the faster attention."""
    default = [setup for setup in PEER_RATES.values() if set(setup) <= {"autocast"}]
    tuned = [setup for setup in PEER_RATES.values() if setup.get("supervised_only")]
    among = default if side == "defaults" else tuned
    return max(among, key=lambda setup: results[f"rate/{rate_name(setup)}"]["rows_per_second"])


def rate_name(setup: dict[str, Any]) -> str:
    return next(name for name, known in PEER_RATES.items() if known == setup)


def peer_steps(epochs: float, max_minutes: float | None, pace: dict[str, Any], batch_size: int = 16) -> int:
    """Steps of a peer's schedule: its epochs, or what fits into the time at the measured pace."""
    steps = round(epochs * -(-pace["train_rows"] // batch_size))
    if max_minutes is not None:
        steps = min(steps, int(60 * max_minutes / pace["seconds_per_step"]))
    return max(1, steps)


# -- processes -------------------------------------------------------------------------------------


def in_process(task: dict[str, Any]) -> dict[str, Any]:
    """Do a task in a process of its own; a whole job finds an empty cache beside the assets."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sensorium-speed-") as folder:
        root = Path(folder)
        environment = dict(os.environ)
        if task["what"].endswith("_job"):
            environment["SENSORIUM_CACHE"] = str(cache_of_assets_alone(root / "cache"))
        told = json.dumps({**task, "folder": str(root / "run"), "out": str(root / "out.json")})
        command = [sys.executable, "-m", "benchmarks.training_speed", "--one", told]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        found: dict[str, Any] = json.loads((root / "out.json").read_text(encoding="utf-8"))
    return found | {"process_seconds": time.monotonic() - began}


def cache_of_assets_alone(cache: Path) -> Path:
    """A new cache folder in which the assets are linked and nothing else is known."""
    from sensorium import assets

    for name in ("smollm2-135m-instruct", "efficientnet-lite0", "emoji"):
        assets.locate(name)
    cache.mkdir()
    (cache / "assets").symlink_to(assets.cache_root() / "assets")
    return cache


def work(task: dict[str, Any]) -> None:
    """What a process of its own does."""
    from benchmarks import speed_jobs as jobs
    from benchmarks.flops import bare_rate
    from benchmarks.peer import Setup

    folder = Path(task["folder"])
    found: dict[str, Any]
    if task["what"] == "bare_rate":
        found = bare_rate(task["tokens"], task["supervised"])
    elif task["what"] == "sensorium_rate":
        found = jobs.sensorium_rate(task["seed"], folder, task["overrides"], task["steps"])
    elif task["what"] == "sensorium_job":
        found = jobs.sensorium_job(task["seed"], folder, task["overrides"], task["every_rows"])
    else:
        setup = Setup(**task["setup"])
        if task["what"] == "peer_rate":
            found = jobs.peer_rate(setup, task["seed"], folder, task["overrides"], task["steps"])
        else:
            found = jobs.peer_job(setup, task["schedule"], task["seed"], folder, task["overrides"], task["every_rows"])
        found["setup"] = asdict(setup)
    Path(task["out"]).write_text(json.dumps(found), encoding="utf-8")


# -- the page --------------------------------------------------------------------------------------


def page(results: Results, seeds: list[int]) -> str:
    """The Markdown page: runs, memory, means, share of the machine's rate."""
    parts = ["# Training speed: Sensorium against transformers.Trainer + PEFT\n"]
    done = [seed for seed in seeds if all(f"run/{side}/{seed}" in results for side in SIDES)]
    if done:
        parts += [runs_table(results, done), memory_table(results, done)]
    return "\n".join([*parts, rates_table(results), flops_table(results)])


def compared(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each side to the peer's best validation loss, and their ratio (None where it was not reached)."""
    if ours["tokens"] != theirs["tokens"]:
        raise SystemExit(f"the sides were measured on {ours['tokens']} and {theirs['tokens']} tokens")
    goal = best(theirs["curve"])
    seconds = reaches(ours["curve"], goal["loss"])
    ratio = None if seconds is None else seconds / goal["seconds"]
    return {
        "loss": goal["loss"],
        "theirs": goal["seconds"],
        "ours": seconds,
        "ratio": ratio,
        "our_best": best(ours["curve"])["loss"],
    }


def runs_table(results: Results, seeds: list[int]) -> str:
    rows = []
    for side in ("defaults", "tuned"):
        ratios = []
        for seed in seeds:
            found = compared(results[f"run/sensorium/{seed}"], results[f"run/{side}/{seed}"])
            cells = [f"{found['loss']:.4f}", f"{found['our_best']:.4f}", f"{found['theirs']:.0f}"]
            cells += ["not reached", ""] if found["ours"] is None else [f"{found['ours']:.0f}", f"{found['ratio']:.2f}"]
            rows.append([f"{side}, seed {seed}", *cells])
            ratios.append(found["ratio"])
        if None not in ratios:
            rows.append([f"**{side}, mean**", "", "", "", "", f"**{mean(ratios):.2f}**"])  # type: ignore[arg-type]
    head = ["peer", "its best validation loss", "Sensorium's best", "peer, s", "Sensorium to the same loss, s", "ratio"]
    return f"## Wall time to the peer's best validation loss, whole job\n\n{table(head, rows)}"


def memory_table(results: Results, seeds: list[int]) -> str:
    rows = []
    for side in SIDES:
        runs = [results[f"run/{side}/{seed}"] for seed in seeds]
        gib = [f"{max(run[name] for run in runs) / 2**30:.2f}" for name in ("peak_anonymous", "peak_resident")]
        rows.append(
            [side, *gib, f"{mean(run['opened'] for run in runs):.0f}", f"{mean(run['trained'] for run in runs):.0f}"]
        )
    head = [
        "side",
        "peak anonymous, GiB",
        "peak resident, GiB",
        "before the first step, s",
        "to the end of training, s",
    ]
    return f"## Memory and time\n\n{table(head, rows)}"


def rates_table(results: Results) -> str:
    rows, first = [], None
    for name in (*PEER_RATES, *OUR_RATES):
        if f"rate/{name}" not in results:
            continue
        speed = results[f"rate/{name}"]["rows_per_second"]
        first = first or speed
        rows.append([name, f"{speed:.1f}", f"{speed / first:.2f}"])
    return f"## What each means brings\n\n{table(['steps of', 'questions/s', '× the first'], rows)}"


def flops_table(results: Results) -> str:
    rows = []
    for name in (*PEER_RATES, *OUR_RATES):
        if f"bare/{name}" in results:
            found, bare = results[f"rate/{name}"], results[f"bare/{name}"]["flops_per_second"]
            achieved = found["flops"] / found["seconds_per_step"]
            rows.append([name, f"{achieved / 1e9:.0f}", f"{bare / 1e9:.0f}", f"{achieved / bare:.0%}"])
    head = ["steps of", "achieved, GFLOP/s", "matrix products of its shapes alone, GFLOP/s", "share"]
    return f"## Share of the machine's rate\n\n{table(head, rows)}"


if __name__ == "__main__":
    main()
