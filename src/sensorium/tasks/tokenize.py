"""Task tokenize: pictures to codes and back, so that what comes back looks like what went in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.models.drawing.critic import Critic
from sensorium.models.drawing.perceptual import Perceptual
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer
from sensorium.objectives.loss import Loss
from sensorium.recipe import TokenizerRecipe


@dataclass
class PictureBatch:
    """``pictures``: (batch, 3, size, size) in [-1, 1]; ``rows``: their numbers in the table."""

    pictures: Tensor
    rows: list[int]

    def to(self, device: Any, **options: Any) -> PictureBatch:
        """The same on another device."""
        return PictureBatch(self.pictures.to(device, **options), self.rows)


class Taught(nn.Module):
    """The tokenizer with what its training needs beside it: called, they give the parts of the loss.

    Args:
        perceptual: compares pictures; None where the recipe gives it no weight.
    """

    def __init__(self, tokenizer: PictureTokenizer, asked: TokenizerRecipe, perceptual: Perceptual | None) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.critic = Critic() if asked.adversarial else None
        self._asked = asked
        self._perceptual = [perceptual]  # hidden from parameters and checkpoints: it never changes

    def forward(self, pictures: Tensor) -> Tensor:
        """The loss of each picture (batch,), of (batch, 3, size, size) in [-1, 1]."""
        asked, perceptual = self._asked, self._perceptual[0]
        rebuilt, _ = self.tokenizer(pictures)
        apart = rebuilt.float() - pictures
        loss = asked.absolute * apart.abs().flatten(1).mean(1) + asked.squared * apart.square().flatten(1).mean(1)
        if perceptual is not None and asked.perceptual:
            loss = loss + asked.perceptual * perceptual.to(pictures.device)(rebuilt, pictures)
        if self.critic is not None:
            loss = loss + self.critic(pictures, rebuilt, asked.adversarial)
        return loss


class Tokenize:
    """The task, as the training loop wants it."""

    def loss(self, model: Any, batch: PictureBatch) -> Loss:
        """Sum over the batch's pictures."""
        return Loss(model(batch.pictures).sum(), len(batch.rows))

    def collate(self, items: Sequence[tuple[int, Tensor]]) -> PictureBatch:
        """(row, (3, size, size)) each, side by side."""
        return PictureBatch(torch.stack([picture for _, picture in items]), [row for row, _ in items])
