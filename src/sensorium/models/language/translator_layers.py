"""The layers of a translator: attention, feed-forward, and what an encoder and a decoder make of them, norms first."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.models.language.fast_dropout import FastDropout


class TranslatorSizes(Protocol):
    """What the layers ask of a configuration."""

    width: int
    heads: int
    feed_forward: int
    dropout: float


class Attention(nn.Module):
    """Multi-head attention by plain matrix products: at a sentence's length faster on CPU than a fused kernel's backward."""

    def __init__(self, config: TranslatorSizes) -> None:
        super().__init__()
        self.heads = config.heads
        self.queries = _linear(config.width, config.width)
        self.both = _linear(config.width, 2 * config.width)
        self.out = _linear(config.width, config.width)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, positions, width) -> keys and values (batch, heads, positions, size)."""
        keys, values = self.both(states).chunk(2, -1)
        return self._parted(keys), self._parted(values)

    def forward(self, hidden: Tensor, states: Tensor, bias: Tensor) -> Tensor:
        """(batch, steps, width) looks at ``states`` (batch, positions, width); bias is added to scores."""
        return self.attend(self.asked(hidden), *self.keys_values(states), bias)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """(…, heads, steps, size) -> (…, steps, width)."""
        scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
        if bias is not None:
            scores = scores + bias
        share = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))  # slow on CPU in bf16
        found = share.to(values.dtype) @ values
        return self.out(found.transpose(-2, -3).flatten(-2))

    def asked(self, hidden: Tensor) -> Tensor:
        """(batch, steps, width) -> queries (batch, heads, steps, size)."""
        return self._parted(self.queries(hidden))

    def _parted(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def one(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, beams, width) -> queries, keys, values of one step, (batch, beams, heads, 1, size) each."""
        keys, values = self.both(hidden).chunk(2, -1)
        parts = (part.unflatten(-1, (self.heads, 1, -1)) for part in (self.queries(hidden), keys, values))
        return tuple(parts)  # type: ignore[return-value]


class FeedForward(nn.Module):
    """Two linear layers with a rectifier between them."""

    def __init__(self, config: TranslatorSizes) -> None:
        super().__init__()
        self.up, self.down = _linear(config.width, config.feed_forward), _linear(config.feed_forward, config.width)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down(functional.relu(self.up(hidden)))


class EncoderLayer(nn.Module):
    """Looks at the source, then thinks: (batch, positions, width) to the same; ``bias`` is added to scores."""

    def __init__(self, config: TranslatorSizes) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(2))
        self.own, self.feed = Attention(config), FeedForward(config)
        self.dropout = FastDropout(config.dropout)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        read = self.norms[0](hidden)
        hidden = hidden + self.dropout(self.own(read, read, bias))
        return hidden + self.dropout(self.feed(self.norms[1](hidden)))


class DecoderLayer(nn.Module):
    """Looks at what was said, at the source, then thinks."""

    def __init__(self, config: TranslatorSizes) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(3))
        self.own, self.across, self.feed = Attention(config), Attention(config), FeedForward(config)
        self.dropout = FastDropout(config.dropout)

    def forward(self, hidden: Tensor, behind: Tensor, memory: Tensor, seen: Tensor) -> Tensor:
        read = self.norms[0](hidden)
        hidden = hidden + self.dropout(self.own(read, read, behind))
        hidden = hidden + self.dropout(self.across(self.norms[1](hidden), memory, seen))
        return hidden + self.dropout(self.feed(self.norms[2](hidden)))

    def memorise(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the memory's states, for ``step``."""
        return self.across.keys_values(memory)

    def step(
        self, hidden: Tensor, own: tuple[Tensor, Tensor] | None, memory: tuple[Tensor, Tensor], seen: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step of a search: hidden (batch, beams, width), the layer's keys and values so far, and the memory's."""
        queries, keys, values = self.own.one(self.norms[0](hidden))
        if own is not None:
            keys, values = torch.cat([own[0], keys], -2), torch.cat([own[1], values], -2)
        hidden = hidden + self.own.attend(queries, keys, values, None).squeeze(-2)
        asked = self.across.asked(self.norms[1](hidden))  # beams are steps that do not meet
        hidden = hidden + self.across.attend(asked, *memory, seen)
        return hidden + self.feed(self.norms[2](hidden)), (keys, values)


def _linear(inner: int, outer: int) -> nn.Linear:
    layer = nn.Linear(inner, outer)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
