"""Encoders: from a modality's tensors to features.

Every encoder answers features (items, positions, width). Position 0 sums the item up (the mean of the rest); late
fusions and linear probes read it alone, tokens and cross-attention read all. How many positions an item takes is
settled beforehand by ``positions``, since placeholder tokens must match; the encoder pools to that number.
"""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sensorium.errors import RecipeError, first_line
from sensorium.models.language.alignment import aligned
from sensorium.recipe import FusionRecipe

LEAST_SAMPLES = 1600  # 0.1 s at 16 kHz: convolutions over samples need some; shorter clips get silence behind them


class Encoder(Protocol):
    """What the model asks of an encoder."""

    width: int

    def __call__(self, values: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        """Values of the items, their own last extents (items,), positions asked for (items,) -> features."""
        ...


def load_pretrained(folder: str | Path, *, dtype: torch.dtype, key: str) -> Any:
    """Any ``transformers`` model (or a bundled asset's) as a feature extractor.

    Raises:
        RecipeError: nothing loadable is there.
    """
    from transformers import AutoModel

    import sensorium.models.efficientnet_lite  # noqa: F401  registers itself with the Auto classes

    try:
        model = AutoModel.from_pretrained(str(folder), dtype=dtype, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - whatever transformers makes of a damaged or foreign folder
        raise RecipeError(
            f"no encoder there ({first_line(error)})",
            where=f"model.{key}: {folder}",
            mend="give an asset's name, a folder with config.json and safetensors, or a hub id that can be reached",
        ) from None
    if any(True for _ in getattr(model, "pooler", nn.Identity()).parameters()):
        model.pooler = None  # not used here, and where the weights are without one it would be noise
    return model


def positions(kind: str, extent: int, fusion: FusionRecipe) -> int:
    """Positions that an item takes, its summary included: 1 in late fusions.

    Args:
        kind: image, audio, text or table.
        extent: of one item: milliseconds of sound, tokens of text, columns of a table; of no matter for pictures.
    """
    if fusion.kind not in ("tokens", "cross_attention"):
        return 1
    if kind == "image":
        return 1 + math.isqrt(fusion.tokens) ** 2
    if kind == "audio":  # four a second, 32 at the most
        return 1 + min(max(math.ceil(extent / 250), 1), fusion.tokens, 32)
    return 1 + min(extent, fusion.tokens)


def pooled(state: Tensor, count: int) -> Tensor:
    """(positions, width) -> (count, width): the mean, then ``count`` - 1 means of equal stretches."""
    mean = state.mean(0, keepdim=True)
    if count <= 1:
        return mean
    return torch.cat([mean, nn.functional.adaptive_avg_pool1d(state.T[None], count - 1)[0].T])


def ragged(items: list[Tensor]) -> Tensor:
    """[(positions, width)] -> (items, most positions, width), zeros behind the shorter ones."""
    return nn.utils.rnn.pad_sequence(items, batch_first=True)


class ImageEncoder(nn.Module):
    """A vision model: pixels (items, 3, height, width) -> the mean and a square grid of cells."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        config = model.config
        inner = getattr(config, "vision_config", config)
        self.width = int(getattr(inner, "hidden_size", 0) or inner.hidden_sizes[-1])
        self.model: Any = getattr(model, "vision_model", model)
        resizable = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        self.options = {"interpolate_pos_encoding": True} if resizable else {}  # pictures need not have its own size
        self.outer = (model,)  # what save_pretrained writes; a tuple, so that torch does not register it twice

    def forward(self, values: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        """Every picture has the same count: 1, or 1 + a square number. ``lengths`` is not used."""
        kind = next(self.model.parameters()).dtype
        state = self.model(pixel_values=values.to(kind), **self.options).last_hidden_state
        if state.ndim == 3:  # a transformer's patches: drop what is not the grid (class token, registers)
            side = math.isqrt(state.shape[1])
            state = state[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))
        mean = state.mean((2, 3))[:, None]
        side = math.isqrt(int(counts.max()) - 1)
        if side == 0:
            return mean
        return torch.cat([mean, nn.functional.adaptive_avg_pool2d(state, side).flatten(2).transpose(1, 2)], 1)


class AudioEncoder(nn.Module):
    """Whisper's encoder (log-mel in) or any transformers audio model (samples in).

    A clip costs its own length, not Whisper's 30 s: positions beyond it are never computed.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.whisper = model.config.model_type == "whisper"
        self.model: Any = model.get_encoder() if self.whisper else model
        self.outer = (model,)
        self.width = int(getattr(model.config, "d_model", 0) or model.config.hidden_size)

    def forward(self, values: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        """Values (items, mels, frames) for Whisper, (items, samples) else; ``lengths`` in frames or samples."""
        kind = next(self.model.parameters()).dtype
        clips = zip(values.to(kind), lengths.tolist(), counts.tolist(), strict=True)
        return ragged([pooled(self._states(clip[None, ..., :length])[0], count) for clip, length, count in clips])

    def _states(self, clip: Tensor) -> Tensor:
        if self.whisper:
            return self._whisper(clip)
        short = max(LEAST_SAMPLES - clip.shape[-1], 0)
        return self.model(nn.functional.pad(clip, (0, short))).last_hidden_state

    def _whisper(self, mel: Tensor) -> Tensor:
        """(1, mels, frames) -> (1, ceil(frames / 2), width); Radford et al. 2022, without padding to 30 s."""
        encoder = self.model
        limit = 2 * encoder.embed_positions.num_embeddings
        hidden = nn.functional.gelu(encoder.conv1(mel[..., :limit]))
        hidden = nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers:
            out = layer(hidden, None)
            hidden = out[0] if isinstance(out, tuple) else out
        return encoder.layer_norm(hidden)


class TextEncoder(nn.Module):
    """A BERT-like encoder: ids (items, tokens) -> the mean over tokens (the sentence), then stretches of tokens."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model
        self.outer = (model,)
        self.width = int(model.config.hidden_size)

    def forward(self, values: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        """``lengths`` (items,): tokens of each item."""
        mask = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        state = self.model(input_ids=values, attention_mask=mask.long()).last_hidden_state
        texts = zip(state, lengths.tolist(), counts.tolist(), strict=True)
        return ragged([pooled(tokens[:length], count) for tokens, length, count in texts])


class TableEncoder(nn.Module):
    """Numbers and categories of a row: (items, numbers + categories) -> the mean, then a position a part.

    Args:
        numbers: how many standardised numbers come first (missing flags and cyclic parts included).
        categories: how many values each category column has (unseen and missing included).
    """

    def __init__(self, numbers: int, categories: list[int], width: int = 64) -> None:
        super().__init__()
        self.numbers, self.width = numbers, width
        self.dense = nn.Sequential(nn.Linear(max(numbers, 1), width), nn.GELU(), nn.Linear(width, width))
        self.embeddings = nn.ModuleList(nn.Embedding(size, width) for size in categories)

    def forward(self, values: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        """``values`` float; category ids are exact in fp32. Every row has the same count. ``lengths`` is not used."""
        dense = values[:, : self.numbers] if self.numbers else values.new_zeros(len(values), 1)
        parts = [self.dense(dense)]
        parts += [table(values[:, self.numbers + i].long()) for i, table in enumerate(self.embeddings)]
        features = torch.stack(parts, 1)
        return torch.cat([features.mean(1, keepdim=True), features], 1)[:, : int(counts.max())]


PRETRAINED: dict[str, Any] = {"image": ImageEncoder, "audio": AudioEncoder, "text": TextEncoder}


def build_encoder(kind: str, folder: str | Path, *, dtype: torch.dtype) -> Any:
    """The pretrained encoder of ``kind`` (image, audio, text), in evaluation mode as ``from_pretrained`` leaves it.

    Where pretraining left an alignment beside it, features are followed by their projections.
    """
    return aligned(PRETRAINED[kind](load_pretrained(folder, dtype=dtype, key=kind)).eval(), folder)
