"""The stretch-wise loss over a vocabulary equals torch's cross-entropy on all logits at once, gradients too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from sensorium.objectives.tied_softmax import STRETCH, tied_softmax


def inputs(n: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(n)
    states = torch.randn(n, 8, dtype=dtype, requires_grad=True)
    table = torch.randn(30, 8, dtype=dtype, requires_grad=True)
    return states, table, torch.randint(30, (n,))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("n", [1, 7, STRETCH, 2 * STRETCH + 3])
def test_loss_and_gradients_equal_torch(n: int, smoothing: float) -> None:
    states, table, targets = inputs(n)
    ours = tied_softmax(states, table, targets, smoothing)
    (ours * 0.5).backward()
    found = states.grad.clone(), table.grad.clone()  # type: ignore[union-attr]
    states.grad = table.grad = None
    theirs = functional.cross_entropy(states @ table.T, targets, reduction="sum", label_smoothing=smoothing)
    (theirs * 0.5).backward()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    torch.testing.assert_close(found[0], states.grad)
    torch.testing.assert_close(found[1], table.grad)


def test_the_formula_in_numpy() -> None:
    states, table, targets = inputs(5)
    scores = states.detach().numpy() @ table.detach().numpy().T
    logs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    wanted = -(0.9 * logs[np.arange(5), targets.numpy()] + 0.1 * logs.mean(-1)).sum()
    assert float(tied_softmax(states, table, targets, 0.1)) == pytest.approx(wanted, abs=1e-5)


def test_large_logits_stay_finite() -> None:
    states = torch.full((2, 1), 1e4)
    table = torch.tensor([[1.0], [-1.0]])
    assert float(tied_softmax(states, table, torch.tensor([0, 0]))) == 0.0


def test_bf16_sums_in_fp32() -> None:
    states, table, targets = inputs(600, torch.float32)
    exact = float(tied_softmax(states, table, targets, 0.1))
    short = tied_softmax(states.bfloat16(), table.bfloat16(), targets, 0.1)
    assert short.dtype == torch.float32 and float(short) == pytest.approx(exact, rel=5e-3)


def test_without_gradients_nothing_is_kept() -> None:
    states, table, targets = inputs(3)
    with torch.inference_mode():
        assert float(tied_softmax(states, table, targets)) > 0
