"""A critic that tells real pictures from rebuilt ones, patch by patch, and teaches the tokenizer to pass for real."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional


class Critic(nn.Module):
    """Convolutions over patches, as PatchGAN's (Isola et al. 2017), with the hinge losses of both sides in one sum.

    The critic learns from rebuilt pictures that pass no gradient on, the tokenizer from a critic that stands still: one
    backward pass teaches both.

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
        """The loss of each picture (batch,): the critic's, and ``weight`` times how far ``rebuilt`` is from passing.

        Args:
            real, rebuilt: (batch, 3, size, size) in [-1, 1].
        """
        dtype = next(self.parameters()).dtype
        of_real = self.layers(real.to(dtype)).float()
        of_rebuilt = self.layers(rebuilt.detach().to(dtype)).float()
        told = functional.relu(1 - of_real) + functional.relu(1 + of_rebuilt)
        still = {name: p.detach() for name, p in self.layers.named_parameters()}
        passing = -functional_call(self.layers, still, (rebuilt.to(dtype),)).float()
        found: Tensor = (told + weight * passing).flatten(1).mean(1)
        return found
