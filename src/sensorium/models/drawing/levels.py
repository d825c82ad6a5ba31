"""What codes share: a code of finite scalar quantisation numbers the levels of its channels, and near levels look alike.

A vector and a weight for each level of each channel let a GPT learn from few pictures what thousands of unrelated codes
would each have to show it: a code's vector and its logit are its own plus those of its levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class CodeLevels(nn.Module):
    """The shared part of codes' vectors and of their logits.

    Args:
        levels: of each channel, the first turning fastest, see ``FiniteScalarQuantiser.number``.
        width: of the backbone.
        std: of the vectors' first weights.
    """

    def __init__(self, levels: Sequence[int], width: int, std: float) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self._places = [math.prod(self.levels[:i]) for i in range(len(self.levels))]
        self.table = nn.Embedding(sum(self.levels), width)
        self.head = nn.Linear(width, sum(self.levels), bias=False)
        nn.init.normal_(self.table.weight, std=std)
        nn.init.normal_(self.head.weight, std=0.02)

    def vectors(self, codes: Tensor) -> Tensor:
        """(…) int64 from 0 on -> (…, width), the sum over channels."""
        total, first = torch.zeros((), device=codes.device), 0
        for place, level in zip(self._places, self.levels, strict=True):
            total = total + self.table(codes // place % level + first)
            first += level
        return total

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, width) -> (…, codes) in fp32: every combination of levels."""
        total = torch.zeros(*hidden.shape[:-1], 1, device=hidden.device)
        for channel in self.head(hidden.to(self.head.weight.dtype)).float().split(self.levels, -1):
            total = (channel[..., :, None] + total[..., None, :]).flatten(-2)
        return total
