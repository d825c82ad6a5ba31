"""The model that translates: an encoder–decoder Transformer (Vaswani et al. 2017), made from nothing.

Norms stand before each sub-layer (Xiong et al. 2020), source, target and output share one table of embeddings, and the
target language's tag stands first on both sides (Johnson et al. 2017). A picture joins as tokens before the source.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel

from sensorium.errors import RunError, first_line
from sensorium.models.bars import without_bars
from sensorium.models.language.fast_dropout import FastDropout
from sensorium.models.language.translator_layers import DecoderLayer, EncoderLayer


class TranslatorConfig(PreTrainedConfig):
    """Sizes of a ``Translator``; ``tags``: token ids of languages; ``pairs``: of source and target that it learnt.

    ``picture_width`` is 0 where it sees no pictures.
    """

    model_type = "sensorium_translator"

    def __init__(
        self,
        vocab_size: int = 300,
        width: int = 64,
        layers: int = 2,
        heads: int = 2,
        feed_forward: int = 128,
        dropout: float = 0.1,
        window: int = 256,
        tags: dict[str, int] | None = None,
        pairs: list[list[str]] | None = None,
        picture_width: int = 0,
        feature_dropout: float = 0.0,
        **rest: Any,
    ) -> None:
        self.vocab_size, self.width, self.layers, self.heads = vocab_size, width, layers, heads
        self.feed_forward, self.dropout, self.window = feed_forward, dropout, window
        self.tags, self.pairs, self.picture_width = tags or {}, pairs or [], picture_width
        self.feature_dropout = feature_dropout
        super().__init__(**rest)


@dataclass
class Memory:
    """What the decoder looks at: states (batch, positions, width), and (batch, positions) bool, True where real."""

    states: Tensor
    present: Tensor


@dataclass
class Cache:
    """Keys and values of a search under way, a pair a layer.

    Attributes:
        memory: (batch, heads, positions, size) each; present: (batch, 1, 1, positions) bool.
        own: (batch, beams, heads, steps, size) each; empty before the first step.
    """

    memory: list[tuple[Tensor, Tensor]]
    present: Tensor
    own: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    steps: int = 0

    def choose(self, rows: Tensor | None, beams: Tensor) -> None:
        """Keep the sentences ``rows`` (kept,), all where None, and of each the beams (kept, beams) that go on."""
        if rows is not None:
            self.memory = [(keys[rows], values[rows]) for keys, values in self.memory]
            self.present = self.present[rows]
        first = torch.arange(len(beams), device=beams.device) if rows is None else rows
        self.own = [(keys[first[:, None], beams], values[first[:, None], beams]) for keys, values in self.own]


class Translator(PreTrainedModel):
    """See the module. Saved and loaded as every ``PreTrainedModel``."""

    config_class = TranslatorConfig
    places: Tensor

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__(config)
        width = config.width
        self.embedding = nn.Embedding(config.vocab_size, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.register_buffer("places", _sinusoids(config.window + 2, width))
        self.picture: nn.Sequential | None = None
        if config.picture_width:
            self.picture = nn.Sequential(nn.LayerNorm(config.picture_width), nn.Linear(config.picture_width, width))
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.decoder_norm = nn.LayerNorm(width)
        self.dropout, self.feature_dropout = FastDropout(config.dropout), FastDropout(config.feature_dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: every module has its first weights already."""

    # -- on disk -----------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: Any, **more: Any) -> None:  # type: ignore[override]
        """As every ``PreTrainedModel``, without a bar of its own."""
        with without_bars():
            super().save_pretrained(save_directory, **more)

    @classmethod
    def open(cls, folder: str | Path) -> Translator:
        """A saved model, in evaluation mode. RunError where it cannot be read."""
        try:
            with without_bars():
                return cls.from_pretrained(folder).eval()
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            mend = "fit again with --fresh"
            raise RunError(f"the model cannot be read ({first_line(error)})", where=str(folder), mend=mend) from None

    # -- training ----------------------------------------------------------------------------------

    def forward(
        self,
        source: Tensor,
        present: Tensor,
        target: Tensor,
        real: Tensor,
        picture: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """States of the decoder at real positions, (real positions, width), in the order of ``target[real]``; and the table.

        The table (vocabulary, width) times a state gives logits: its gradient comes through here too, so that a wrapper
        for several processes sees it.

        Args:
            source: (batch, positions) token ids: tag, text, end; present: (batch, positions) bool.
            target: (batch, steps) token ids: tag, text; real: (batch, steps) bool, padding is at the end.
            picture: see ``encode``.
        """
        memory = self.encode(source, present, picture)
        hidden = self.dropout(self._embed(target))
        steps = target.shape[1]
        causal = torch.ones(steps, steps, dtype=torch.bool, device=target.device).tril()
        behind, seen = _bias(causal, hidden.dtype), _bias(memory.present[:, None, None, :], hidden.dtype)
        for layer in self.decoder:
            hidden = layer(hidden, behind, memory.states, seen)
        return self.decoder_norm(hidden[real]), self.embedding.weight

    def logits(self, states: Tensor) -> Tensor:
        """(..., width) -> (..., vocabulary)."""
        return functional.linear(states, self.embedding.weight)

    def encode(self, source: Tensor, present: Tensor, picture: tuple[Tensor, Tensor] | None = None) -> Memory:
        """Read the source.

        Args:
            source: (batch, positions) token ids; present: (batch, positions) bool.
            picture: features (batch, k, picture width) and (batch,) bool, False where a row has no picture.
        """
        hidden = self._embed(source)
        if self.picture is not None and picture is not None:
            features, there = picture
            hidden = torch.cat([self.picture(self.feature_dropout(features.to(hidden.dtype))), hidden], 1)
            present = torch.cat([there[:, None].expand(-1, features.shape[1]), present], 1)
        hidden, bias = self.dropout(hidden), _bias(present[:, None, None, :], hidden.dtype)
        for layer in self.encoder:
            hidden = layer(hidden, bias)
        return Memory(self.encoder_norm(hidden), present)

    def _embed(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens) * math.sqrt(self.config.width) + self.places[: tokens.shape[1]]

    # -- in use ------------------------------------------------------------------------------------

    def start(self, memory: Memory) -> Cache:
        """What a search begins with."""
        pairs = [layer.memorise(memory.states) for layer in self._decoder_layers()]
        return Cache(pairs, memory.present[:, None, None, :])

    def step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Logits (batch, beams, vocabulary) of what follows ``tokens`` (batch, beams), which join the cache."""
        hidden = self.embedding(tokens) * math.sqrt(self.config.width) + self.places[cache.steps]
        seen, own = _bias(cache.present, hidden.dtype), []
        for i, layer in enumerate(self._decoder_layers()):
            hidden, pair = layer.step(hidden, cache.own[i] if cache.own else None, cache.memory[i], seen)
            own.append(pair)
        cache.own, cache.steps = own, cache.steps + 1
        return self.logits(self.decoder_norm(hidden))

    def _decoder_layers(self) -> Iterator[DecoderLayer]:
        for layer in self.decoder:
            assert isinstance(layer, DecoderLayer)
            yield layer


def _bias(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where allowed, the type's minimum elsewhere."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, torch.finfo(dtype).min)


def _sinusoids(positions: int, width: int) -> Tensor:
    """(positions, width): sines, then cosines, of geometric wavelengths from 2π to 10000 · 2π."""
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10000.0) / max(half - 1, 1)))
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * rates
    table = torch.zeros(positions, width)
    table[:, :half], table[:, half : 2 * half] = angles.sin(), angles.cos()
    return table
