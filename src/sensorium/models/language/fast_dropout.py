"""Dropout (Srivastava et al. 2014) whose random numbers are cheap on CPU: one byte an element, eight from one draw.

torch draws a float an element on one thread there: of a small translator's step that was a fifth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 256


class FastDropout(nn.Module):
    """Zeroes elements with chance ``p``, on CPU rounded to a 256th, and scales the others so that the mean stays."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """Any shape to the same; the draws are of torch's default generator."""
        if not self.training or self.p == 0:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.p)
        lost = min(round(self.p * LEVELS), LEVELS - 1)
        count = values.numel()
        drawn = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)[:count]
        factor = (drawn >= lost).to(values.dtype).mul_(LEVELS / (LEVELS - lost))
        return values * factor.view(values.shape)
