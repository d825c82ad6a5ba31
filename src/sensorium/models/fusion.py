"""The five fusions, ``F = G(T, V, A)``.

Early ones let the GPT see features: ``tokens`` put projected features in the place of placeholder tokens,
``cross_attention`` lets layers look at them through gates that start closed (Flamingo, Alayrac et al. 2022). Late
ones join one vector a modality: ``concat``, ``weighted``, ``attention``. None of them asks which modality it has.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.recipe import FusionRecipe


class Projector(nn.Module):
    """Standardised features -> a width, with a learned vector for what is missing.

    ``mean`` and ``scale`` are fitted on training rows where features are cached, and identity elsewhere. ``gain``
    brings what is projected to the size of what it joins.
    Args: ``width_in`` of the encoder, ``width_out`` of the GPT or the fusion, ``dropout`` on features.
    """

    mean: Tensor
    scale: Tensor
    gain: Tensor

    def __init__(self, width_in: int, width_out: int, dropout: float, *, hidden: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width_in))
        self.register_buffer("scale", torch.ones(width_in))
        self.register_buffer("gain", torch.ones(()))
        self.dropout = nn.Dropout(dropout)
        layers: list[nn.Module] = [nn.Linear(width_in, width_out)]
        if hidden:
            layers += [nn.GELU(), nn.Linear(width_out, width_out)]
        self.layers = nn.Sequential(*layers)
        self.missing = nn.Parameter(torch.randn(width_out) * 0.02)

    def fit(self, features: Tensor) -> None:
        """Take mean and scale from training features (rows, width_in)."""
        self.mean.copy_(features.float().mean(0))
        self.scale.copy_(features.float().std(0).clamp(min=1e-3).reciprocal())

    def match(self, features: Tensor, size: Tensor) -> None:
        """Set the gain by which these features (items, positions, width_in) come out at root mean square ``size``."""
        out = self.layers((features.float() - self.mean) * self.scale)
        self.gain.copy_(size / rms(out).mean().clamp(min=1e-6))

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """(items, positions, width_in), present (items,) -> (items, positions, width_out), missing ones learned."""
        standard = (features.float() - self.mean) * self.scale
        out = self.layers(self.dropout(standard))
        return torch.where(present[:, None, None], out, self.missing) * self.gain


def rms(states: Tensor) -> Tensor:
    """Root mean square over the last dimension: (…, width) -> (…)."""
    return states.float().pow(2).mean(-1).sqrt()


# -- early -----------------------------------------------------------------------------------------


def place_tokens(hidden: Tensor, features: Tensor, mask: Tensor, row: Tensor, slots: Tensor) -> Tensor:
    """Put features in the place of their placeholder tokens.

    Args:
        hidden: (batch, tokens, width).
        features: (items, positions, width); mask: (items, positions).
        row: (items,), the batch row of each item; slots: (items, positions), token index in that row.
    """
    item, position = mask.nonzero(as_tuple=True)
    flat = row[item] * hidden.shape[1] + slots[item, position]
    source = features[item, position].to(hidden.dtype)
    return hidden.flatten(0, 1).index_copy(0, flat, source).unflatten(0, hidden.shape[:2])


class CrossAttention(nn.Module):
    """Gated cross-attention before a layer of the GPT: ``h + tanh(gate) · attention(norm(h), features)``.

    The gate starts at 0, so that an untrained block leaves the GPT as it was.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        """Hidden (batch, tokens, width), memory (batch, positions, width), visible (batch, tokens, positions) bool.

        A token that sees no position is left as it is.
        """
        anything = visible.any(-1, keepdim=True)
        blocked = ~(visible | ~anything)
        heads = self.attention.num_heads
        query = self.norm(hidden.float())
        found, _ = self.attention(
            query, memory, memory, attn_mask=blocked.repeat_interleave(heads, 0), need_weights=False
        )
        return hidden + (torch.tanh(self.gate) * found * anything).to(hidden.dtype)


# -- late ------------------------------------------------------------------------------------------


class Concat(nn.Module):
    """``[t; v; a]``, then an MLP. A missing modality keeps its place with its learned vector."""

    def __init__(self, modalities: int, recipe: FusionRecipe) -> None:
        super().__init__()
        width = recipe.width
        self.layers = nn.Sequential(nn.Linear(modalities * width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """(batch, modalities, width), present (batch, modalities) -> (batch, width)."""
        return self.layers(vectors.flatten(1))


class Weighted(nn.Module):
    """A mean with learned weights over the modalities that are present (softmax of one logit a modality)."""

    def __init__(self, modalities: int, recipe: FusionRecipe) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(modalities))

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """(batch, modalities, width), present (batch, modalities) -> (batch, width)."""
        none = ~present.any(1, keepdim=True)  # nothing there: the learned vectors of all
        weights = self.logits.expand_as(present).masked_fill(~(present | none), float("-inf")).softmax(1)
        return (weights[..., None] * vectors).sum(1)


class Attention(nn.Module):
    """Multi-head attention over the modality vectors with a learned query."""

    def __init__(self, modalities: int, recipe: FusionRecipe) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, recipe.width) * recipe.width**-0.5)
        self.place = nn.Parameter(torch.zeros(modalities, recipe.width))
        self.norm = nn.LayerNorm(recipe.width)
        self.attention = nn.MultiheadAttention(recipe.width, recipe.heads, batch_first=True)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """(batch, modalities, width), present (batch, modalities) -> (batch, width)."""
        none = ~present.any(1, keepdim=True)
        keys = self.norm(vectors + self.place)
        query = self.query.expand(len(vectors), -1, -1)
        fused, _ = self.attention(query, keys, vectors, key_padding_mask=~(present | none), need_weights=False)
        return fused[:, 0]


LATE: dict[str, type[nn.Module]] = {"concat": Concat, "weighted": Weighted, "attention": Attention}
