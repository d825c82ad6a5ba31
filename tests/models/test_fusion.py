"""Fusions, gates, projectors and placing against the formulas, written again in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from sensorium.models.fusion import Attention, Concat, CrossAttention, Projector, Weighted, place_tokens
from sensorium.recipe import FusionRecipe

WIDTH, HEADS, MODALITIES = 16, 4, 3
RECIPE = FusionRecipe(width=WIDTH, heads=HEADS)
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]], dtype=bool)
VECTORS = np.random.default_rng(0).normal(size=(4, MODALITIES, WIDTH)).astype(np.float32)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def linear(x: np.ndarray, layer: torch.nn.Linear) -> np.ndarray:
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def layer_norm(x: np.ndarray, norm: torch.nn.LayerNorm) -> np.ndarray:
    standard = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + norm.eps)
    return standard * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def attend(
    module: torch.nn.MultiheadAttention, query: np.ndarray, keys: np.ndarray, values: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """One item: query (q, width), keys and values (k, width), seen (q, k) -> (q, width); Vaswani et al. 2017."""
    weight, bias = module.in_proj_weight.detach().numpy(), module.in_proj_bias.detach().numpy()
    width = query.shape[1]
    q, k, v = (
        x @ weight[i * width : (i + 1) * width].T + bias[i * width : (i + 1) * width]
        for i, x in enumerate((query, keys, values))
    )
    each, out = width // module.num_heads, []
    for h in range(module.num_heads):
        part = slice(h * each, (h + 1) * each)
        scores = np.where(seen, q[:, part] @ k[:, part].T / np.sqrt(each), -np.inf)
        out.append(softmax(scores) @ v[:, part])
    return linear(np.concatenate(out, 1), module.out_proj)


def run(module: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return module(torch.from_numpy(VECTORS), torch.from_numpy(PRESENT)).numpy()


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def test_concat_is_an_mlp_of_all_vectors_in_a_row() -> None:
    module = shaken(Concat(MODALITIES, RECIPE))
    hidden = gelu(linear(VECTORS.reshape(4, -1), module.layers[0]))
    np.testing.assert_allclose(run(module), linear(hidden, module.layers[2]), atol=1e-5)


def test_weighted_is_a_mean_over_what_is_present_and_over_all_where_nothing_is() -> None:
    module = shaken(Weighted(MODALITIES, RECIPE))
    logits = module.logits.detach().numpy()
    expected = []
    for vectors, present in zip(VECTORS, PRESENT, strict=True):
        chosen = np.flatnonzero(present) if present.any() else np.arange(MODALITIES)
        expected.append(softmax(logits[chosen]) @ vectors[chosen])
    np.testing.assert_allclose(run(module), np.stack(expected), atol=1e-5)


def test_attention_asks_what_is_present_with_a_learned_query() -> None:
    module = shaken(Attention(MODALITIES, RECIPE))
    query, place = module.query.detach().numpy()[0], module.place.detach().numpy()
    expected = []
    for vectors, present in zip(VECTORS, PRESENT, strict=True):
        seen = present if present.any() else np.ones(MODALITIES, dtype=bool)
        expected.append(attend(module.attention, query, layer_norm(vectors + place, module.norm), vectors, seen)[0])
    np.testing.assert_allclose(run(module), np.stack(expected), atol=1e-5)


def test_cross_attention_adds_what_is_seen_through_the_gate() -> None:
    module = shaken(CrossAttention(WIDTH, HEADS))
    rng = np.random.default_rng(1)
    hidden, memory = rng.normal(size=(2, 5, WIDTH)), rng.normal(size=(2, 3, WIDTH))
    visible = rng.random((2, 5, 3)) < 0.5
    visible[0, 0], visible[1] = False, False  # a token, and a whole row, that see nothing
    expected = hidden.copy()
    for row in range(2):
        for token in range(5):
            if visible[row, token].any():
                query = layer_norm(hidden[row, token : token + 1], module.norm)
                found = attend(module.attention, query, memory[row], memory[row], visible[row, token : token + 1])
                expected[row, token] += np.tanh(module.gate.item()) * found[0]
    tensors = [torch.from_numpy(x).float() for x in (hidden, memory)]
    with torch.no_grad():
        found = module(*tensors, torch.from_numpy(visible)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found[~visible.any(-1)], tensors[0].numpy()[~visible.any(-1)])


def test_an_untrained_gate_leaves_the_gpt_as_it_was_and_still_learns() -> None:
    module = CrossAttention(WIDTH, HEADS)
    hidden, memory = torch.randn(2, 5, WIDTH), torch.randn(2, 3, WIDTH)
    out = module(hidden, memory, torch.ones(2, 5, 3, dtype=torch.bool))
    assert torch.equal(out, hidden)
    out.square().sum().backward()
    assert module.gate.grad is not None and module.gate.grad.abs() > 0


@pytest.mark.parametrize("hidden", [False, True])
def test_projector_standardises_projects_and_puts_a_learned_vector_where_nothing_is(hidden: bool) -> None:
    module = shaken(Projector(5, WIDTH, 0.0, hidden=hidden))
    rng = np.random.default_rng(2)
    training = rng.normal(3, 7, size=(50, 5)).astype(np.float32)
    training[:, 4] = 2.0  # constant: scaled by no more than 1000
    module.fit(torch.from_numpy(training))
    features, present = rng.normal(size=(3, 2, 5)).astype(np.float32), np.array([True, False, True])
    standard = (features - training.mean(0)) / np.maximum(training.std(0, ddof=1), 1e-3)
    expected = linear(standard, module.layers[0])
    if hidden:
        expected = linear(gelu(expected), module.layers[2])
    expected[1] = module.missing.detach().numpy()
    with torch.no_grad():
        found = module(torch.from_numpy(features), torch.from_numpy(present)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_what_is_missing_teaches_the_learned_vector_alone() -> None:
    module = Projector(5, WIDTH, 0.0, hidden=True)
    features = torch.tensor([[[1.0] * 5], [[7.0] * 5]], requires_grad=True)
    module(features, torch.tensor([True, False])).sum().backward()
    assert module.missing.grad is not None and torch.equal(module.missing.grad, torch.ones(WIDTH))
    assert features.grad is not None and torch.equal(features.grad[1], torch.zeros(1, 5))


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_place_tokens_writes_each_feature_to_its_slot_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch, tokens, items, most = rng.integers(1, 4), int(rng.integers(4, 9)), int(rng.integers(1, 5)), 2
    hidden = rng.normal(size=(batch, tokens, 3)).astype(np.float32)
    features = rng.normal(size=(items, most, 3)).astype(np.float32)
    free = {row: list(rng.permutation(tokens)) for row in range(batch)}
    row, slots, mask = np.zeros(items, int), np.full((items, most), -1), np.zeros((items, most), bool)
    expected = hidden.copy()
    for i in range(items):
        row[i] = rng.integers(batch)
        for k in range(int(rng.integers(0, most + 1))):
            if free[row[i]]:
                slots[i, k], mask[i, k] = free[row[i]].pop(), True
                expected[row[i], slots[i, k]] = features[i, k]
    found = place_tokens(*(torch.from_numpy(x) for x in (hidden, features, mask, row, slots)))
    np.testing.assert_array_equal(found.numpy(), expected)
