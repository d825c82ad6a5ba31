"""Reading on from prompts that were read once: their keys and values are kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from sensorium.models.drawing.drawing_gpt import DrawingGPT
from sensorium.models.drawing.sequences import DrawingSequence, batch_of


class Reading:
    """A batch of prompts, and what was read after them.

    Args:
        prompts: sequences, without what is to be found out.

    Attributes:
        last: (batch, width) the states that foretell what comes after each prompt.
    """

    def __init__(self, model: DrawingGPT, prompts: Sequence[DrawingSequence]) -> None:
        self.model, self.cache = model, DynamicCache()
        batch = batch_of(prompts, model.vocabulary).to(model.device)
        self.lengths = torch.tensor([len(one.ids) for one in prompts], device=model.device)
        embedded = model.embed(batch.ids, batch.places, batch.features)
        states = model.run(embedded, batch.positions, batch.visible, self.cache)
        self.last = states[torch.arange(len(states), device=model.device), self.lengths - 1]
        self.real = batch.positions < self.lengths[:, None]

    def step(self, ids: Tensor, places: Tensor | None = None) -> Tensor:
        """One more token each, (batch,), which joins what was read -> states (batch, width)."""
        at = torch.full_like(ids, -1) if places is None else places
        self.real = torch.nn.functional.pad(self.real, (0, 1), value=True)
        embedded = self.model.embed(ids[:, None], at[:, None])
        states = self.model.run(embedded, self.lengths[:, None], self.real[:, None], self.cache)
        self.lengths = self.lengths + 1
        return states[:, 0]

    def look(self, ids: Tensor, places: Tensor) -> Tensor:
        """Tokens (batch, k) that all see each other and what was read, and do not join it -> states (batch, k, width)."""
        count = ids.shape[1]
        visible = torch.nn.functional.pad(self.real, (0, count), value=True)[:, None].expand(-1, count, -1)
        positions = self.lengths[:, None] + torch.arange(count, device=ids.device)
        states = self.model.run(self.model.embed(ids, places), positions, visible, self.cache)
        self.cache.crop(-count)
        return states
