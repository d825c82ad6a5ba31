"""Estimates against counted bytes, and against a measured step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sensorium.errors import RecipeError
from sensorium.training.memory import GIB, MemoryNeed, Shape, available, check, estimate, peak_memory


def test_counts_weights_gradients_and_moments() -> None:
    model = nn.Sequential(nn.Linear(100, 100, bias=False), nn.Linear(100, 10, bias=False, dtype=torch.bfloat16))
    model[0].requires_grad_(False)
    need = estimate(model, Shape(2, 5, 100, 200, 4, 3))
    assert need.weights == 100 * 100 * 4 + 1000 * 2
    assert (
        need.gradients == 1000 * (2 + 4) and need.optimizer == 1000 * 12
    )  # gradient, its fp32 copy; master and moments
    assert need.activations == 10 * (10 * 100 + 4 * 200) * 3 * 4
    assert (
        estimate(model, Shape(2, 5, 100, 200, 4, 3), "eager").activations == need.activations + 3 * 2 * 4 * 25 * 3 * 4
    )
    assert need.total == need.weights + need.further
    assert (
        str(MemoryNeed(GIB, GIB // 2, 0, 0))
        == "1.50 GiB (weights 1.00, gradients 0.50, optimiser 0.00, activations 0.00)"
    )


def test_activations_of_a_llama_layer_are_near_what_autograd_saves() -> None:
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=32, hidden_size=64, intermediate_size=160, num_hidden_layers=4, num_attention_heads=4
    )
    model = LlamaModel(config)
    shape = Shape.of(config, batch=4, length=32)
    assert (shape.width, shape.ffn, shape.heads, shape.layers) == (64, 160, 4, 4)
    known = {p.data_ptr() for p in model.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.zeros(4, 32, dtype=torch.long))
    assert 0.5 < estimate(model, shape).activations / sum(saved.values()) < 2


def test_check_is_one_line() -> None:
    need = MemoryNeed(weights=10 * GIB, gradients=GIB, optimizer=2 * GIB, activations=GIB)
    check(need, 4 * GIB)
    with pytest.raises(
        RecipeError, match=r"^training: training needs 4.0 GiB beside the model, 3.0 GiB are free; lower training.micro"
    ):
        check(need, 3 * GIB)


def test_machine() -> None:
    assert 0 < available() < 2**50
    assert peak_memory() > 50_000_000  # torch alone
