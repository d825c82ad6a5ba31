"""A translator so small that every translation can be tried."""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.models.language.translator import Memory, Translator, TranslatorConfig

PAD, END, TAG = 0, 1, 2


def translator(vocabulary: int = 7, seed: int = 0, picture_width: int = 0, sharp: float = 3.0) -> Translator:
    """Random weights in evaluation mode; ``sharp`` scales the table, so that words differ in likelihood."""
    torch.manual_seed(seed)
    config = TranslatorConfig(
        vocabulary, width=8, layers=2, heads=2, feed_forward=16, dropout=0.2, window=12, tags={"de": TAG},
        picture_width=picture_width,
    )  # fmt: skip
    model = Translator(config).double().eval()
    with torch.no_grad():
        model.embedding.weight.mul_(sharp)
    return model


def sentences(*rows: list[int]) -> tuple[Tensor, Tensor]:
    """Ids (rows, longest) and which are real, filled up at the end."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    return ids, torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])


def memory(model: Translator, *rows: list[int]) -> Memory:
    with torch.no_grad():
        return model.encode(*sentences(*rows))


def log_probability(model: Translator, source: list[int], target: list[int]) -> float:
    """Σ log P of the target's tokens after the tag, by the forward pass of training."""
    ids, real = sentences([TAG, *target[:-1]])
    with torch.no_grad():
        states, table = model(*sentences(source), ids, real)
    logs = (states @ table.T).log_softmax(-1)
    return float(logs.detach()[torch.arange(len(target)), torch.tensor(target)].sum())
