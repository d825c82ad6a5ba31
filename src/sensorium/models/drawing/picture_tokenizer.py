"""A tokenizer of pictures: convolutions to a grid of vectors, each rounded to a code, and convolutions back.

The quantiser is finite scalar quantisation (Mentzer et al. 2023); encoder and decoder are residual convolutions over
patches, as in VQGAN (Esser et al. 2021) but for where they work: nothing runs at the full number of pixels, where
most of the time would go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from sensorium.models.drawing.quantiser import FiniteScalarQuantiser


class PictureTokenizerConfig(PreTrainedConfig):
    """Shapes of a picture tokenizer.

    Args:
        size: pixels a side.
        codes: codes a picture, a square number; the grid's side divides ``size`` by a power of two, at least 4.
        levels: of each channel of a code; their product is the codebook.
        patch: pixels a side of the patches that the encoder starts from and the decoder ends in.
        widths: channels at each resolution, from the patches' to the codes'; the last stands for all that lack one.
        blocks: residual blocks at each resolution; likewise.
    """

    model_type = "sensorium_picture_tokenizer"

    def __init__(
        self,
        size: int = 64,
        codes: int = 64,
        levels: Sequence[int] = (8, 8, 8, 8),
        patch: int = 4,
        widths: Sequence[int] = (128, 256),
        blocks: Sequence[int] = (2, 4),
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.size, self.codes, self.patch = int(size), int(codes), int(patch)
        self.levels = [int(level) for level in levels]
        self.widths = [int(width) for width in widths]
        self.blocks = [int(count) for count in blocks]

    @property
    def grid(self) -> int:
        """Codes a side.

        Raises:
            ValueError: size, codes and patch do not fit each other.
        """
        side = math.isqrt(self.codes)
        halvings = self.size // max(side * self.patch, 1)
        if side * side != self.codes or halvings & (halvings - 1) or halvings * side * self.patch != self.size:
            raise ValueError(f"{self.codes} codes of patches of {self.patch} do not fit {self.size} pixels a side")
        return side

    @property
    def stages(self) -> list[tuple[int, int]]:
        """(width, blocks) of each resolution, from the patches' to the codes'."""
        count = (self.size // (self.grid * self.patch)).bit_length()
        widths, blocks = self.widths[:count], self.blocks[:count]
        widths += [widths[-1]] * (count - len(widths))
        blocks += [blocks[-1]] * (count - len(blocks))
        return list(zip(widths, blocks, strict=True))


class _Norm(nn.LayerNorm):
    """Layer normalisation over the channels of each place."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width), the same out."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _Norm(width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, height, width), the same out."""
        return x + self.second(functional.gelu(self.first(self.norm(x)), approximate="tanh"))


class PictureTokenizer(PreTrainedModel):
    """Pictures to codes and back.

    Raises:
        ValueError: size, codes and patch do not fit each other.
    """

    config_class = PictureTokenizerConfig
    config: PictureTokenizerConfig
    base_model_prefix = ""
    main_input_name = "pictures"
    input_modalities = ("image",)

    def __init__(self, config: PictureTokenizerConfig) -> None:
        super().__init__(config)
        self.quantiser = FiniteScalarQuantiser(config.levels)
        stages = config.stages
        down: list[nn.Module] = [nn.Conv2d(3, stages[0][0], config.patch, config.patch)]
        for number, (width, blocks) in enumerate(stages):
            if number:
                down.append(nn.Conv2d(stages[number - 1][0], width, 2, 2))
            down += [_Block(width) for _ in range(blocks)]
        last = stages[-1][0]
        self.encoder = nn.Sequential(*down, _Norm(last), nn.Conv2d(last, self.quantiser.width, 1))
        up: list[nn.Module] = [nn.Conv2d(self.quantiser.width, last, 3, padding=1)]
        for number in reversed(range(len(stages))):
            width, blocks = stages[number]
            up += [_Block(width) for _ in range(blocks)]
            if number:
                up += [nn.Conv2d(width, 4 * stages[number - 1][0], 1), nn.PixelShuffle(2)]
        first = stages[0][0]
        up += [_Norm(first), nn.Conv2d(first, 3 * config.patch**2, 3, padding=1), nn.PixelShuffle(config.patch)]
        self.decoder = nn.Sequential(*up)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own start, but for the end of a residual branch: small, so that depth does not hinder learning."""
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.config.size

    @property
    def grid(self) -> int:
        """Codes a side."""
        return self.config.grid

    @property
    def codebook_size(self) -> int:
        """How many codes there are."""
        return self.quantiser.codebook_size

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructions and codes.

        Args:
            pictures: (batch, 3, size, size) in [-1, 1].

        Returns:
            (batch, 3, size, size), unbounded, with gradients through the rounding; codes (batch, grid * grid) int64.
        """
        levels = self.quantiser(self._vectors(pictures))
        return self._pictures(levels), self.quantiser.number(levels.detach()).flatten(1)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """(batch, 3, size, size) in [-1, 1] -> (batch, grid * grid) int64, row by row."""
        return self.quantiser.codes(self._vectors(pictures)).flatten(1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """(batch, grid * grid) int64 -> (batch, 3, size, size) float32 in [-1, 1].

        Raises:
            ValueError: another number of codes a picture, or a code outside the codebook.
        """
        if codes.dim() != 2 or codes.shape[1] != self.grid**2:
            raise ValueError(f"a picture has {self.grid**2} codes, not {tuple(codes.shape[1:])}")
        levels = self.quantiser.values(codes).unflatten(1, (self.grid, self.grid))
        return self._pictures(levels).float().clamp(-1, 1)

    def _vectors(self, pictures: Tensor) -> Tensor:
        """(batch, 3, size, size) -> (batch, grid, grid, channels) before rounding."""
        x = pictures.to(self.dtype).contiguous(memory_format=torch.channels_last)
        return self.encoder(x).permute(0, 2, 3, 1)

    def _pictures(self, levels: Tensor) -> Tensor:
        """(batch, grid, grid, channels) in [-1, 1] -> (batch, 3, size, size)."""
        x = levels.to(self.dtype).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        return self.decoder(x)


AutoConfig.register("sensorium_picture_tokenizer", PictureTokenizerConfig, exist_ok=True)
AutoModel.register(PictureTokenizerConfig, PictureTokenizer, exist_ok=True)
