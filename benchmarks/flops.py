"""How fast this machine multiplies matrices of the model's own shapes, with nothing else to do."""

from __future__ import annotations

import time
from typing import Any

import torch


def shapes(config: Any, tokens: int, supervised: int) -> list[tuple[int, int, int]]:
    """(rows, in, out) of every linear map of a Llama-like layer, and of the language-model head at ``supervised`` places."""
    width, ffn = config.hidden_size, config.intermediate_size
    head = getattr(config, "head_dim", None) or width // config.num_attention_heads
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    layer = [(width, queries), (width, keys), (width, keys), (queries, width), (width, ffn), (width, ffn), (ffn, width)]
    return [(tokens, a, b) for a, b in layer] + [(supervised, width, config.vocab_size)]


def bare_rate(tokens: int, supervised: int, repeats: int = 5) -> dict[str, float]:
    """bf16 FLOP/s of SmolLM2's products, forward and both of the backward pass; each timed at its best of ``repeats``."""
    from transformers import AutoConfig

    from sensorium import assets

    config = AutoConfig.from_pretrained(assets.locate("smollm2-135m-instruct"))
    return products(shapes(config, tokens, supervised), config.num_hidden_layers, repeats)


def products(wanted: list[tuple[int, int, int]], layers: int, repeats: int = 5) -> dict[str, float]:
    """All but the last shape count ``layers`` times."""
    flops = seconds = 0.0
    for number, (rows, a, b) in enumerate(wanted):
        times = 1 if number == len(wanted) - 1 else layers
        x, w, g = (torch.randn(size, dtype=torch.bfloat16) for size in ((rows, a), (b, a), (rows, b)))
        for step in (lambda: x @ w.T, lambda: g @ w, lambda: g.T @ x):  # noqa: B023 (called at once)
            seconds += times * _least_seconds(step, repeats)
            flops += times * 2.0 * rows * a * b
    return {"flops_per_second": flops / seconds}


def _least_seconds(step: Any, repeats: int) -> float:
    step()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        step()
        found.append(time.perf_counter() - began)
    return max(min(found), 1e-9)
