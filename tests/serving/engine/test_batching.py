"""Many answers at once are the answers that each request gets alone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from sensorium.serving.engine.batching import BatchingEngine, EngineSettings
from sensorium.serving.protocols import Sampling
from tests.serving.dialogues import alone, conversation, talker

EVERY_FUSION = [
    {"kind": "tokens", "from_layer": 0},
    {"kind": "tokens", "from_layer": 2},
    {"kind": "cross_attention", "from_layer": 1, "every": 1},
]
SMALL = EngineSettings(places=4, queue=64, context=256, chunk=24, prefix_bytes=200_000, feature_bytes=20_000)


@contextmanager
def running(model: Any, processor: Any, settings: EngineSettings = SMALL) -> Iterator[BatchingEngine]:
    engine = BatchingEngine(model, processor, settings)
    try:
        yield engine
    finally:
        engine.close()


def wait(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 120))


@pytest.mark.parametrize("gpt", ["llama", "gpt2"])
@pytest.mark.parametrize("fusion", EVERY_FUSION)
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 8))])
def test_answers_of_a_crowd_are_those_of_one_at_a_time(gpt: str, fusion: dict, seed: int) -> None:
    model, processor = talker(gpt, **fusion)
    rng = np.random.default_rng(seed)
    asked = [(conversation(rng), int(rng.integers(1, 24))) for _ in range(20)]
    asked += [asked[place] for place in rng.integers(0, 20, 8)]
    leaving = [int(rng.integers(1, 6)) if rng.random() < 0.3 else None for _ in asked]
    pauses = rng.exponential(0.01, len(asked))
    expected = [alone(model, processor, messages, count) for messages, count in asked]

    async def ask(engine: BatchingEngine, place: int) -> tuple[list[int], bool]:
        await asyncio.sleep(float(pauses[: place + 1].sum()))
        messages, count = asked[place]
        reply = await engine.submit(messages, Sampling(max_tokens=count))
        async for piece in reply:
            if leaving[place] is not None and len(reply.ids) >= leaving[place] and piece.finish is None:
                reply.cancel()
                return reply.ids, False
        return reply.ids, True

    async def crowd(engine: BatchingEngine) -> list[tuple[list[int], bool]]:
        told = await asyncio.gather(*(ask(engine, place) for place in range(len(asked))))
        assert await engine.drain(30)
        return told

    with running(model, processor) as engine:
        told = wait(crowd(engine))
        gauges = engine.gauges()
    for (ids, whole), right in zip(told, expected, strict=True):
        assert ids == right if whole else ids == right[: len(ids)]
    assert sum(whole for _, whole in told) >= 12
    assert gauges["prefix_cache_hits"] > 0 and gauges["encoder_cache_hits"] > 0
    assert gauges["running"] == gauges["waiting"] == 0
    assert 0 < gauges["prefix_cache_bytes"] <= SMALL.prefix_bytes
    assert 0 < gauges["encoder_cache_bytes"] <= SMALL.feature_bytes
