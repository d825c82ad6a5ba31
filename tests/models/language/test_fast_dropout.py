"""Cheap dropout is dropout: its share, its mean, its seed, and the gradient through what stays."""

from __future__ import annotations

import pytest
import torch

from sensorium.models.language.fast_dropout import FastDropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_share_and_mean(p: float) -> None:
    torch.manual_seed(0)
    out = FastDropout(p)(torch.ones(1_000_003))  # no multiple of eight
    lost = round(p * 256) / 256
    assert float((out == 0).float().mean()) == pytest.approx(lost, abs=0.002)
    assert float(out.mean()) == pytest.approx(1.0, abs=0.005)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / (1 - lost)])


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    gone = (FastDropout(0.3)(torch.ones(800_000)) == 0).float().view(-1, 8)
    assert torch.corrcoef(gone.T).fill_diagonal_(0).abs().max() < 0.015


def test_the_seed_decides() -> None:
    values, dropout = torch.randn(100), FastDropout(0.5)
    torch.manual_seed(3)
    first = dropout(values)
    torch.manual_seed(3)
    assert torch.equal(first, dropout(values)) and not torch.equal(first, dropout(values))


def test_gradient_flows_through_what_stays() -> None:
    values = torch.ones(64, requires_grad=True)
    out = FastDropout(0.5)(values)
    out.sum().backward()
    assert torch.equal(values.grad, out.detach())


def test_in_use_and_at_zero_nothing_changes() -> None:
    values = torch.randn(9)
    assert FastDropout(0.5).eval()(values) is values and FastDropout(0.0)(values) is values
