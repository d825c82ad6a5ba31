"""The running average of weights: its formula, that it can be put in and out, and that checkpoints hold it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sensorium.training.averaging import Averaged
from sensorium.training.checkpoint import changing_tensors, load_changing


def steps(whole: Averaged, values: list[float]) -> None:
    for value in values:
        with torch.no_grad():
            whole.model.weight.fill_(value)  # type: ignore[union-attr,operator]
        whole.update()


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_formula(decay: float) -> None:
    whole = Averaged(nn.Linear(1, 1, bias=False), decay)
    wanted, values = float(whole.model.weight.detach()), list(np.random.default_rng(0).normal(size=30))  # type: ignore[operator,union-attr]
    steps(whole, values)
    for n, value in enumerate(values):
        d = min(decay, (1 + n) / (10 + n))
        wanted = d * wanted + (1 - d) * value
    with whole.averaged() as model:
        assert float(model.weight.detach()) == pytest.approx(wanted, abs=1e-6)


def test_in_and_out_again_bit_for_bit() -> None:
    whole = Averaged(nn.Linear(3, 2), 0.5)
    steps(whole, [1.1, 2.2])
    with whole.averaged():
        assert float(whole.model.weight.detach()[0, 0]) != pytest.approx(2.2)  # type: ignore[index,union-attr]
    assert torch.equal(whole.model.weight, torch.full((2, 3), 2.2))


def test_an_error_inside_puts_the_weights_back() -> None:
    whole = Averaged(nn.Linear(3, 2), 0.5)
    steps(whole, [1.0, 2.0])
    with pytest.raises(KeyError), whole.averaged():
        raise KeyError
    assert torch.equal(whole.model.weight, torch.full((2, 3), 2.0))


def test_no_decay_is_the_last_weights() -> None:
    whole = Averaged(nn.Linear(1, 1), 0.0)
    steps(whole, [1.0, 5.0])
    whole.take()
    assert float(whole.model.weight.detach()) == 5.0  # type: ignore[operator,union-attr]


def test_a_checkpoint_holds_the_average() -> None:
    torch.manual_seed(0)
    one, other = Averaged(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), 0.9), None
    for _ in range(4):
        with torch.no_grad():
            for p in one.model.parameters():
                p.normal_()
        one.update()
    kept = {name: tensor.clone() for name, tensor in changing_tensors(one).items()}
    other = Averaged(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), 0.9)
    load_changing(other, kept)
    for whole in (one, other):
        with torch.no_grad():
            for p in whole.model.parameters():
                p.fill_(1.0)
        whole.update()
    for mine, theirs in zip(changing_tensors(one).values(), changing_tensors(other).values(), strict=True):
        assert torch.equal(mine, theirs)


def test_bf16_weights_are_averaged_in_fp32() -> None:
    whole = Averaged(nn.Linear(1, 1, bias=False).bfloat16(), 0.5)
    steps(whole, [1.0, 1.0078125, 1.0])
    assert whole.average.get_buffer("weight").dtype == torch.float32


def test_what_is_frozen_is_not_averaged() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    model[0].requires_grad_(False)
    assert [name for name, _ in Averaged(model, 0.5).average.named_buffers()] == ["1/weight", "1/bias"]
