"""Serving SmolLM2 with a picture in the prompt: many clients at the engine against ``transformers.generate``, and a soak.

Each side at its best precision and attention kernel, chosen by a short trial on this machine:

    python -m benchmarks.serving                      # speed and soak
    python -m benchmarks.serving --only speed --requests 32 --tokens 64
    python -m benchmarks.serving --only soak --soak 200 --prompts 16
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, Results, clean_environment, table

KERNELS = ("sdpa", "eager")
TRIAL = {"tokens": 16, "requests": 4}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("speed", "soak"), help="half of it")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=64, help="of the clients together; each has its own picture")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer, at the most")
    parser.add_argument("--alone", type=int, default=16, help="requests that are timed one at a time")
    parser.add_argument("--soak", type=int, default=2000, help="requests of the soak")
    parser.add_argument("--soak-clients", type=int, default=32, help="more than run and wait: some are refused")
    parser.add_argument("--prompts", type=int, default=64, help="different prompts of the soak")
    parser.add_argument("--soak-tokens", type=int, default=16)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: on a machine that is busy, with one thread"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    clean_environment()
    settings = {name: value for name, value in vars(args).items() if name not in ("results", "only")}
    results = Results(args.results, "serving", settings)
    if args.only != "soak":
        speed(results, args)
    if args.only != "speed":
        from benchmarks.serving_soak import soak

        results.once("soak", soak, args.soak, args.soak_clients, args.prompts, args.soak_tokens, args.seed)
    results.write_table(page(results, args))


def speed(results: Results, args: argparse.Namespace) -> None:
    """Trials of both sides in every precision and kernel; then each at its best, in turn."""
    for precision, kernel in product(("fp32", "bf16"), KERNELS):
        results.once(f"trial/{precision}/{kernel}", trial, precision, kernel, args)
    for side in ("crowd", "alone"):
        precision, kernel = best(results, side)
        results.once(f"speed/{side}", measured, side, precision, kernel, args)


def trial(precision: str, kernel: str, args: argparse.Namespace) -> dict[str, float]:
    """Tokens a second of both sides, on few requests."""
    from benchmarks import serving_sides as sides

    model, processor = sides.talker(precision, kernel)
    asked = sides.requests(args.clients, args.seed + 1)
    crowd = sides.crowd(model, processor, asked, TRIAL["tokens"], args.clients)
    alone = sides.one_by_one(model, processor, asked[: TRIAL["requests"]], TRIAL["tokens"])
    return {"crowd": crowd["tokens_per_second"][args.clock], "alone": alone["tokens_per_second"][args.clock]}


def best(results: Results, side: str) -> tuple[str, str]:
    """The precision and kernel with which a side was fastest in its trial."""
    tried = [(results[f"trial/{p}/{k}"][side], p, k) for p, k in product(("fp32", "bf16"), KERNELS)]
    return max(tried)[1:]


def measured(side: str, precision: str, kernel: str, args: argparse.Namespace) -> dict[str, Any]:
    """One side's figures; both answer the same questions, of which the slower side has fewer."""
    from benchmarks import serving_sides as sides

    model, processor = sides.talker(precision, kernel)
    asked = sides.requests(args.requests, args.seed)
    if side == "crowd":
        found = sides.crowd(model, processor, asked, args.tokens, args.clients)
    else:
        found = sides.one_by_one(model, processor, asked[: args.alone], args.tokens)
    return found | {"precision": precision, "attention": kernel, "requests": len(found["answers"])}


def page(results: Results, args: argparse.Namespace) -> str:
    """The Markdown page."""
    parts = ["# Serving SmolLM2 with a picture in the prompt\n"]
    if "speed/alone" in results:
        parts.append(speed_table(results, args))
    if "soak" in results:
        parts.append(soak_table(results["soak"], args))
    return "\n".join(parts)


def speed_table(results: Results, args: argparse.Namespace) -> str:
    crowd, alone = results["speed/crowd"], results["speed/alone"]
    names = {"crowd": f"Sensorium's engine, {args.clients} clients", "alone": "transformers.generate, one at a time"}
    rows = [
        [
            names[side],
            f"{found['precision']}, {found['attention']}",
            found["requests"],
            *(f"{found['tokens_per_second'][clock]:.1f}" for clock in ("wall", "cpu")),
            f"{found['tokens_per_second'][args.clock] / alone['tokens_per_second'][args.clock]:.2f}",
            f"{found['first_token_median']:.2f}",
            f"{found['first_token_p90']:.2f}",
        ]
        for side, found in (("crowd", crowd), ("alone", alone))
    ]
    head = [
        "side",
        "precision, kernel",
        "requests",
        "tokens/s",
        "tokens per CPU s",
        f"× ({args.clock})",
        "first token, median s",
        "90 %, s",
    ]
    tried = [
        [f"{p}, {k}", *(f"{results[f'trial/{p}/{k}'][side]:.1f}" for side in ("crowd", "alone"))]
        for p, k in product(("fp32", "bf16"), KERNELS)
    ]
    unit = {"wall": "tokens/s", "cpu": "tokens per CPU s"}[args.clock]
    shared = ["trial", f"engine, {unit}", f"one at a time, {unit}"]
    note = "Nobody waits in the second row: its first token is that of a request that finds the machine idle.\n"
    return "\n".join(["## Speed\n", table(head, rows), note, table(shared, tried)])


def soak_table(found: dict[str, Any], args: argparse.Namespace) -> str:
    rows = [[name, count] for name, count in sorted(found["outcomes"].items())]
    rows.append(["answers that differ from single-request service", len(found["wrong"])])
    low, high = (f"{size / 2**20:,.0f}" for size in found["resident_second_half"])
    said = (
        f"{args.soak:,} requests by {args.soak_clients} clients in {found['seconds']:.0f} s. Resident memory over the "
        f"second half: {low} to {high} MiB, {100 * found['growth_second_half']:.1f} % over its start at the most.\n"
    )
    return "\n".join(["## Soak\n", table(["outcome", "requests"], rows), said])


if __name__ == "__main__":
    main()
