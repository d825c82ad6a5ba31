"""A critic that tells real pictures from rebuilt ones, patch by patch, and teaches the tokenizer to pass for real.

Both learn in one backward pass: between tokenizer and critic stands a layer that turns gradients round (Ganin &
Lempitsky 2015), so that what the critic's loss takes from its own weights it gives to the tokenizer's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Critic(nn.Module):
    """Convolutions over patches, as PatchGAN's (Isola et al. 2017), with the hinge loss of both sides.

    Args:
        width: channels of the first layer; each further one has twice as many.
        layers: with stride 2.
    """

    def __init__(self, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        channels = 3
        for number in range(layers):
            wide = width * 2**number
            conv = nn.Conv2d(channels, wide, 4, 2, 1)
            parts += [nn.utils.parametrizations.spectral_norm(conv), nn.LeakyReLU(0.2)]
            channels = wide
        self.layers = nn.Sequential(*parts, nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, real: Tensor, rebuilt: Tensor, weight: float) -> Tensor:
        """The critic's hinge loss of each picture (batch,); of its gradient ``weight`` times the reverse reaches ``rebuilt``.

        Args:
            real, rebuilt: (batch, 3, size, size) in [-1, 1].
        """
        dtype = next(self.parameters()).dtype
        of_real = self.layers(real.to(dtype)).float()
        of_rebuilt = self.layers(turned(rebuilt.to(dtype), weight)).float()
        return (functional.relu(1 - of_real) + functional.relu(1 + of_rebuilt)).flatten(1).mean(1)


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: float) -> Tensor:
        context.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient * -context.weight, None


def turned(x: Tensor, weight: float) -> Tensor:
    """``x`` itself; its gradient is ``-weight`` times what comes from above."""
    found: Tensor = _Turned.apply(x, weight)
    return found
