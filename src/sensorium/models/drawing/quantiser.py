"""Finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505): vectors to integers without a learned codebook."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FiniteScalarQuantiser(nn.Module):
    """Each channel is bounded by tanh and rounded to one of a few levels; a code numbers their combination.

    Args:
        levels: of each channel, at least 2; their product is the size of the codebook.

    Raises:
        ValueError: no channel, or one with fewer than two levels.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise ValueError("every channel needs two levels or more")
        self.levels = tuple(int(level) for level in levels)
        self.codebook_size = math.prod(self.levels)
        # Not buffers: they follow from the levels and must not become bf16 with the weights.
        self._places = [math.prod(self.levels[:i]) for i in range(len(self.levels))]

    @property
    def width(self) -> int:
        """Channels."""
        return len(self.levels)

    def forward(self, x: Tensor) -> Tensor:
        """(…, channels) any real -> the nearest levels (…, channels) in [-1, 1], float32; gradients pass the rounding."""
        bounded = self.bound(x)
        rounded = bounded.round()
        return (bounded + (rounded - bounded).detach()) / self._half(x.device)

    def bound(self, x: Tensor) -> Tensor:
        """(…, channels) -> (…, channels) float32 in the open range whose rounding gives the levels (equation 2)."""
        levels = torch.tensor(self.levels, dtype=torch.float32, device=x.device)
        half = (levels - 1) * (1 + 1e-3) / 2
        offset = torch.where(levels % 2 == 0, 0.5, 0.0)  # an even number of levels lies askew about 0
        return torch.tanh(x.float() + torch.atanh(offset / half)) * half - offset

    def codes(self, x: Tensor) -> Tensor:
        """(…, channels) any real -> (…) int64 from 0 to ``codebook_size`` - 1."""
        return self.number(self(x))

    def number(self, quantised: Tensor) -> Tensor:
        """Levels (…, channels) in [-1, 1], as ``forward`` gives them -> (…) int64."""
        half = self._half(quantised.device)
        digits = (quantised * half + half).round().long()
        return (digits * torch.tensor(self._places, device=digits.device)).sum(-1)

    def values(self, codes: Tensor) -> Tensor:
        """(…) int64 -> levels (…, channels) in [-1, 1], float32; the reverse of ``number``.

        Raises:
            ValueError: a code is outside the codebook.
        """
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= self.codebook_size):
            raise ValueError(f"codes must lie from 0 to {self.codebook_size - 1}")
        places = torch.tensor(self._places, device=codes.device)
        levels = torch.tensor(self.levels, device=codes.device)
        half = self._half(codes.device)
        return (codes[..., None] // places % levels - half) / half

    def _half(self, device: torch.device) -> Tensor:
        """What a level is divided by: half the number of levels, rounded down."""
        return torch.tensor([level // 2 for level in self.levels], dtype=torch.float32, device=device)
