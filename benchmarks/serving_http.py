"""Thousands of requests over HTTP to ``sensorium serve``, some of whose clients hang up or send nonsense.

    python -m benchmarks.serving_http --requests 2000

A run of ``recipes/emoji-ask.yaml`` in fp32 (a few steps suffice) is served in a process of its own. Whatever is answered
must be, word for word, what the same model says greedily to that request alone, without an engine.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil

from benchmarks.common import RESULTS, ROOT, Results, clean_environment, table
from benchmarks.serving_soak import SHARE

SMALL = {"data.max_rows": 120, "training.max_steps": 4, "evaluation.max_rows": 20, "evaluation.baselines": False}
RUN = ROOT / "runs" / "benchmarks" / "serving-http"


@dataclass
class Seen:
    """Outcomes by name, the server's resident bytes after each request, answers that were wrong."""

    outcomes: Counter[str] = field(default_factory=Counter)
    resident: list[int] = field(default_factory=list)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=32, help="more than run and wait: some are refused")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    clean_environment()
    results = Results(args.results, "serving_http", {k: v for k, v in vars(args).items() if k != "results"})
    results.once("soak", soak, args)
    results.write_table(page(results["soak"], args))


def soak(args: argparse.Namespace) -> dict[str, Any]:
    """Fit, learn what is right, serve, ask."""
    import sensorium
    from benchmarks.runs import recipe_of

    sensorium.fit(recipe_of("emoji-ask", {**SMALL, "training.precision": "fp32"}, RUN, args.seed))
    asked = conversations(args.prompts, args.seed)
    right = answers_alone(asked, args.tokens)
    print(f"{len(right)} reference answers", flush=True)
    seen, rng, left = Seen(), np.random.default_rng(args.seed), list(range(args.requests))

    async def ask(client: httpx2.AsyncClient) -> None:
        kind, prompt, most = rng.random(), int(rng.integers(len(asked))), int(rng.integers(1, args.tokens + 1))
        if kind < SHARE:
            return await _nonsense(client, seen, int(rng.integers(4)))
        leaves = kind < 2 * SHARE
        body = {"model": RUN.name, "messages": asked[prompt], "max_tokens": most, "temperature": 0, "stream": True}
        said, began, patience = "", time.monotonic(), int(rng.integers(0, 3))
        async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
            if reply.status_code == 429:
                seen.outcomes["refused: full (429)"] += 1
                return await asyncio.sleep(float(reply.headers["retry-after"]))
            if reply.status_code != 200:
                seen.outcomes[f"unasked-for status {reply.status_code}"] += 1
                return
            pieces = 0
            async for line in reply.aiter_lines():
                if leaves and pieces >= patience:
                    seen.outcomes["hung up"] += 1
                    return
                if line.startswith("data: {"):
                    told = json.loads(line[6:])
                    if "error" in told:
                        seen.outcomes["error in a stream"] += 1
                        return
                    if piece := told["choices"][0]["delta"].get("content"):
                        if not said:
                            seen.first_token.append(time.monotonic() - began)
                        said += piece
                        pieces += 1
        seen.outcomes["answered"] += 1
        if said.strip() != right[prompt][most - 1]:
            seen.wrong.append({"prompt": prompt, "most": most, "said": said, "right": right[prompt][most - 1]})

    async def client_of(client: httpx2.AsyncClient, process: psutil.Process) -> None:
        while left:
            left.pop()
            await ask(client)
            seen.resident.append(process.memory_info().rss)
            if len(seen.resident) % 100 == 0:
                print(f"{len(seen.resident)} requests, {dict(seen.outcomes)}", flush=True)

    async def crowd(address: str, process: psutil.Process) -> None:
        limits = httpx2.Limits(max_connections=2 * args.clients)
        async with httpx2.AsyncClient(base_url=address, timeout=300, limits=limits) as client:
            await asyncio.gather(*(client_of(client, process) for _ in range(args.clients)))

    began = time.monotonic()
    with serving() as (process, address):
        asyncio.run(crowd(address, psutil.Process(process.pid)))
        process.terminate()
        code = process.wait(60)
    half = seen.resident[len(seen.resident) // 2 :]
    return {
        "seconds": time.monotonic() - began,
        "outcomes": dict(seen.outcomes),
        "wrong": seen.wrong,
        "exit_code": code,
        "resident_at_half": half[0],
        "resident_second_half": [min(half), max(half)],
        "growth_second_half": max(half) / half[0] - 1,
        "first_token_median": float(np.median(seen.first_token)),
    }


def conversations(count: int, seed: int) -> list[list[dict[str, Any]]]:
    """OpenAI messages of one turn, each about another picture."""
    from benchmarks.serving_sides import requests
    from sensorium.data.messages import MediaPart

    made = []
    for messages in requests(count, seed):
        parts: list[dict[str, Any]] = []
        for part in messages[-1].parts:
            if isinstance(part, MediaPart):
                url = f"data:image/png;base64,{base64.b64encode(part.reference['bytes']).decode()}"
                parts.append({"type": "image_url", "image_url": {"url": url}})
            else:
                parts.append({"type": "text", "text": part.text})
        made.append([{"role": "user", "content": parts}])
    return made


def answers_alone(asked: list[list[dict[str, Any]]], tokens: int) -> list[list[str]]:
    """What the served model says to each conversation alone, cut after 1, 2, … ``tokens`` tokens."""
    import torch

    import sensorium
    from sensorium.data.collate import collate
    from sensorium.data.media import read_media
    from sensorium.data.messages import from_openai
    from sensorium.data.rows import Example
    from sensorium.models.decoding import DecodingSettings, generate
    from sensorium.models.sequences import end_of_turn
    from sensorium.models.turns import addressed

    opened = sensorium.load(RUN)
    model, processor = opened.model, opened.processor
    processor.read_media = partial(read_media, root=None)
    stops, found = {processor.tokenizer.eos_token_id, end_of_turn(processor.tokenizer)}, []
    for messages in asked:
        turns = addressed(from_openai(messages, answered=False), processor)
        batch = collate([processor.sequence([Example(0, {"messages": turns}, None)], answering=True)])
        with torch.inference_mode():
            ids = generate(model, batch, stops, DecodingSettings(max_new_tokens=tokens))[0]
        found.append(
            [processor.tokenizer.decode(ids[:n], skip_special_tokens=True).strip() for n in range(1, tokens + 1)]
        )
    return found


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server's process and its address."""
    words = [
        sys.executable,
        "-m",
        "sensorium.cli.main",
        "serve",
        str(RUN),
        "--port",
        "0",
        "--together",
        "16",
        "--queue",
        "12",
    ]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address = ""
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                address = found[0]
                break
        if not address:
            raise SystemExit("the server did not start")
        threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
        yield process, address
    finally:
        process.kill()
        process.wait(10)


async def _nonsense(client: httpx2.AsyncClient, seen: Seen, kind: int) -> None:
    """A malformed request is refused with 400."""
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgpubw=="}}
    bodies: list[Any] = [
        {"model": RUN.name, "messages": [{"role": "user", "content": [broken]}]},
        {"model": RUN.name, "messages": [{"role": "user", "content": "and so on " * 5000}]},
        {"model": RUN.name, "messages": [{"role": "user", "content": "x"}], "temperature": "warm"},
        None,
    ]
    sent: dict[str, Any] = (
        {"content": b'{"model": ', "headers": {"content-type": "application/json"}}
        if bodies[kind] is None
        else {"json": bodies[kind]}
    )
    reply = await client.post("/v1/chat/completions", **sent)
    refused = {400: "refused: malformed (400)", 429: "refused: full (429)"}
    seen.outcomes[refused.get(reply.status_code, f"malformed, yet {reply.status_code}")] += 1


def page(found: dict[str, Any], args: argparse.Namespace) -> str:
    """The Markdown page."""
    rows = [[name, count] for name, count in sorted(found["outcomes"].items())]
    rows.append(["answers that differ from single-request service", len(found["wrong"])])
    low, high = (f"{size / 2**20:,.0f}" for size in found["resident_second_half"])
    return (
        f"# {args.requests:,} requests over HTTP\n\n{table(['outcome', 'requests'], rows)}\n"
        f"{args.clients} clients, {found['seconds']:.0f} s, fp32; first token after {found['first_token_median']:.2f} s "
        f"(median). The server's resident memory over the second half: {low} to {high} MiB, "
        f"{100 * found['growth_second_half']:.1f} % over its start at the most. It ended with code {found['exit_code']}.\n"
    )


if __name__ == "__main__":
    main()
