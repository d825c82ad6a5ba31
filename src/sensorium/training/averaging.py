"""The running average of a model's weights, which often answers better than the last ones (Polyak & Juditsky 1992).

The average is kept in buffers of the module that trains, so that it is in every checkpoint and a resume goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Averaged(nn.Module):
    """A model beside the exponential average of its trainable weights; called, it is the model.

    Args:
        decay: of the average in each update, less in the first ones: min(decay, (1 + n) / (10 + n)) after n updates.
            0 keeps the last weights.
    """

    updates: Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.model, self.decay = model, decay
        self.average = nn.Module()
        self._names = [name for name, p in model.named_parameters() if p.requires_grad]
        for name in self._names:
            weight = model.get_parameter(name).detach().float().clone()
            self.average.register_buffer(name.replace(".", "/"), weight)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, *args: Any, **named: Any) -> Any:
        return self.model(*args, **named)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights, after each step."""
        n = int(self.updates)
        share = 1 - min(self.decay, (1 + n) / (10 + n)) if self.decay else 1.0
        current = [p.float() for p in self._weights()]
        torch._foreach_lerp_(self._averages(), current, share)
        self.updates += 1

    @contextmanager
    @torch.no_grad()
    def averaged(self) -> Iterator[nn.Module]:
        """The model with its average weights meanwhile."""
        own = [p.detach().clone() for p in self._weights()]
        self.take()
        try:
            yield self.model
        finally:
            for p, weight in zip(self._weights(), own, strict=True):
                p.copy_(weight)

    @torch.no_grad()
    def take(self) -> None:
        """Put the average into the model, for good."""
        for p, weight in zip(self._weights(), self._averages(), strict=True):
            p.copy_(weight)

    def _weights(self) -> list[Tensor]:
        return [self.model.get_parameter(name) for name in self._names]

    def _averages(self) -> list[Tensor]:
        return [self.average.get_buffer(name.replace(".", "/")) for name in self._names]
