"""How far apart two pictures look: between features of a pretrained image encoder, not between pixels.

After LPIPS (Zhang et al. 2018, arXiv:1801.03924) without its learnt weights: features of several depths, each place's
vector brought to length 1, squared differences summed over channels and averaged over places and depths.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.encoders import load_pretrained

DEPTHS = 4  # the finest resolutions, whose features still know where things are
_LEAST = 1e-3  # added to a vector's length: what is blank stays near nothing


class Perceptual(nn.Module):
    """A frozen image encoder that compares pictures.

    Args:
        encoder: a ``transformers`` vision model.
        mean, std: what it expects pixels in [0, 1] to be standardised by.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def train(self, mode: bool = True) -> Perceptual:
        """Stays in evaluation mode."""
        return super().train(False)

    def states(self, pictures: Tensor) -> list[Tensor]:
        """(batch, 3, size, size) in [-1, 1] -> the last state at each of the finest resolutions, (batch, channels, …)."""
        parameter = next(self.encoder.parameters())
        values = ((pictures.float() + 1) / 2 - self.mean) / self.std
        side = getattr(getattr(self.encoder, "config", None), "image_size", None)
        if isinstance(side, int) and values.shape[-1] != side:  # position embeddings of one size only
            values = functional.interpolate(values, (side, side), mode="bilinear", antialias=True)
        values = values.to(parameter.dtype).contiguous(memory_format=torch.channels_last)
        given = self.encoder(values, output_hidden_states=True)
        found: dict[torch.Size, Tensor] = {}
        for state in given.hidden_states or (given.last_hidden_state,):
            state = state.transpose(1, 2) if state.dim() == 3 else state  # tokens of a Vision Transformer
            found[state.shape[2:]] = state
        return list(found.values())[:DEPTHS]

    def forward(self, pictures: Tensor, others: Tensor) -> Tensor:
        """Distances (batch,) between two batches in [-1, 1], (batch, 3, size, size) each; 0: they look alike."""
        total = torch.zeros(len(pictures), device=pictures.device)
        pairs = list(zip(self.states(pictures), self.states(others), strict=True))
        for state, other in pairs:
            apart = (_unit(state) - _unit(other)).square().sum(1)
            total = total + apart.flatten(1).mean(1)
        return total / len(pairs)

    @torch.inference_mode()
    def summary(self, pictures: Tensor) -> Tensor:
        """Mean over places of each state, joined: (batch, 3, size, size) in [-1, 1] -> (batch, features) float32."""
        return torch.cat([state.float().flatten(2).mean(2) for state in self.states(pictures)], 1)


def open_perceptual(
    folder: str | Path, statistics: tuple[Sequence[float], Sequence[float]], dtype: torch.dtype = torch.float32
) -> Perceptual:
    """The encoder in ``folder``; ``statistics``: mean and standard deviation of its pixels in [0, 1].

    Raises:
        RecipeError: nothing loadable is there.
    """
    encoder = load_pretrained(folder, dtype=dtype, key="image").to(memory_format=torch.channels_last)
    return Perceptual(encoder, *statistics)


def _unit(state: Tensor) -> Tensor:
    """Each place's vector over channels (dimension 1) at length 1, in float32."""
    state = state.float()
    return state / (state.norm(dim=1, keepdim=True) + _LEAST)
