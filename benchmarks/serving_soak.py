"""Thousands of requests at an engine, some of whose clients go away or send nonsense: right answers, flat memory."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil

from benchmarks.serving_sides import requests, running, talker
from sensorium.data.collate import collate
from sensorium.data.messages import MediaPart, Message, TextPart
from sensorium.data.rows import Example
from sensorium.errors import MediaError
from sensorium.models.decoding import DecodingSettings, generate
from sensorium.models.sequences import end_of_turn
from sensorium.serving.engine.batching import BatchingEngine, EngineSettings
from sensorium.serving.protocols import BadGrammar, Full, Sampling, TooLong

SHARE = 0.05  # of clients that hang up, and of requests that are malformed
SETTINGS = EngineSettings(places=16, queue=12, prefix_bytes=64 << 20, feature_bytes=8 << 20)


@dataclass
class Soak:
    """What happened: outcomes by name, resident bytes after each request, wrong answers in full."""

    outcomes: Counter[str] = field(default_factory=Counter)
    resident: list[int] = field(default_factory=list)
    wrong: list[dict[str, Any]] = field(default_factory=list)


def soak(count: int, clients: int, prompts: int, tokens: int, seed: int) -> dict[str, Any]:
    """``count`` requests by ``clients`` at once, over ``prompts`` different prompts, at most ``tokens`` each, in fp32.

    Every whole answer is compared with the greedy tokens of single-request service; one that was left early, with
    their beginning.
    """
    model, processor = talker("fp32", "sdpa")
    asked = requests(prompts, seed)
    stops = {processor.tokenizer.eos_token_id, end_of_turn(processor.tokenizer)}
    expected = []
    for messages in asked:
        batch = collate([processor.sequence([Example(0, {"messages": messages}, None)], answering=True)])
        expected.append(generate(model, batch, stops, DecodingSettings(max_new_tokens=tokens))[0])
    print(f"{prompts} reference answers", flush=True)
    rng, found, process, left = np.random.default_rng(seed), Soak(), psutil.Process(), list(range(count))

    async def ask(engine: BatchingEngine) -> None:
        kind, prompt = rng.random(), int(rng.integers(prompts))
        most, patience = int(rng.integers(1, tokens + 1)), int(rng.integers(1, tokens + 1))
        if kind < SHARE:
            return await _nonsense(engine, found, int(rng.integers(3)))
        try:
            reply = await engine.submit(asked[prompt], Sampling(max_tokens=most))
        except Full as full:
            found.outcomes["refused: full"] += 1
            return await asyncio.sleep(full.seconds)  # as clients do that honour Retry-After
        left_early = False
        async for piece in reply:
            if kind < 2 * SHARE and len(reply.ids) >= patience and piece.finish is None:
                left_early = True
                reply.cancel()
                break
        right = expected[prompt][: len(reply.ids)] if left_early else expected[prompt][:most]
        found.outcomes["hung up" if left_early else "answered"] += 1
        if reply.ids != right:
            found.wrong.append({"prompt": prompt, "most": most, "told": reply.ids, "right": right})

    async def client(engine: BatchingEngine) -> None:
        while left:
            left.pop()
            await ask(engine)
            found.resident.append(process.memory_info().rss)

    async def crowd(engine: BatchingEngine) -> None:
        await asyncio.gather(*(client(engine) for _ in range(clients)))
        if not await engine.drain(60):
            raise SystemExit("the engine did not come to rest")

    began = time.monotonic()
    with running(model, processor, SETTINGS) as engine:
        asyncio.run(crowd(engine))
        gauges = engine.gauges()
    half = found.resident[len(found.resident) // 2 :]
    return {
        "seconds": time.monotonic() - began,
        "outcomes": dict(found.outcomes),
        "wrong": found.wrong,
        "resident_at_half": half[0],
        "resident_second_half": [min(half), max(half)],
        "growth_second_half": max(half) / half[0] - 1,
        "gauges": gauges,
    }


async def _nonsense(engine: BatchingEngine, found: Soak, kind: int) -> None:
    """A malformed request is refused for what it is."""
    picture = Message("user", (MediaPart("image", "image_url", {"bytes": b"\x89PNG\r\n\x1a\nno picture"}),))
    words = Message("user", (TextPart("What is in the picture?"),))
    endless = Message("user", (TextPart("and so on " * 5000),))
    message, sampling, error = (
        (picture, Sampling(max_tokens=4), MediaError),
        (words, Sampling(max_tokens=4, grammar="no grammar {"), BadGrammar),
        (endless, Sampling(max_tokens=4), TooLong),
    )[kind]
    try:
        await engine.submit([message], sampling)
    except error:
        found.outcomes["refused: malformed"] += 1
    except Full:
        found.outcomes["refused: full"] += 1
    else:
        found.outcomes["malformed, yet taken"] += 1
