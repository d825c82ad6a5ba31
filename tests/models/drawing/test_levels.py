"""Vectors and logits that codes share, against the quantiser's own numbering."""

from __future__ import annotations

import torch

from sensorium.models.drawing.levels import CodeLevels
from sensorium.models.drawing.quantiser import FiniteScalarQuantiser

LEVELS, WIDTH = (3, 5, 2), 7


def digits() -> torch.Tensor:
    """(codes, channels): which level of each channel a code stands for, from the values that it decodes to."""
    values = FiniteScalarQuantiser(LEVELS).values(torch.arange(30))
    return torch.stack([values[:, c].unique(return_inverse=True)[1] for c in range(len(LEVELS))], 1)


def test_a_codes_vector_and_logit_are_the_sums_of_those_of_its_levels() -> None:
    torch.manual_seed(0)
    shared, firsts = CodeLevels(LEVELS, WIDTH, 0.5), torch.tensor([0, 3, 8])
    rows = digits() + firsts
    assert torch.allclose(shared.vectors(torch.arange(30)), shared.table.weight[rows].sum(1))
    hidden = torch.randn(4, 2, WIDTH)
    expected = (hidden @ shared.head.weight.T)[..., rows].sum(-1)
    assert torch.allclose(shared.logits(hidden), expected, atol=1e-6)


def test_one_picture_teaches_codes_that_it_does_not_show() -> None:
    torch.manual_seed(0)
    shared, hidden = CodeLevels(LEVELS, WIDTH, 0.5), torch.randn(1, WIDTH)
    before = shared.logits(hidden)[0]
    torch.nn.functional.cross_entropy(shared.logits(hidden), torch.tensor([0])).backward()
    with torch.no_grad():
        shared.head.weight -= shared.head.weight.grad
    gained = (shared.logits(hidden)[0] - before).detach()
    same = (digits() == digits()[0]).sum(1)  # levels that a code has in common with the one that was shown
    means = [float(gained[same == number].mean()) for number in range(4)]
    assert means == sorted(means) and int(gained.argmax()) == 0
