"""A drawing GPT so small that it runs in a moment, and rows for it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from sensorium.models.backbone import adapt_backbone
from sensorium.models.drawing.drawing_gpt import DrawingGPT, drawing_gpt
from sensorium.recipe import AdaptRecipe
from tests.models.small import VOCABULARY, tiny_gpt
from tests.tiny_models import stir

LEVELS, GRID, FEATURES = (5, 4), 3, 5
CODES = math.prod(LEVELS)
PLACES = GRID * GRID


def drawer(kind: str = "llama", attention: str = "sdpa", adapt: AdaptRecipe | None = None, **more: Any) -> DrawingGPT:
    """Random weights, large enough that everything shows, in evaluation mode."""
    backbone = tiny_gpt(kind, attention)
    settings = {"feature_width": FEATURES, **more}
    if adapt is not None:
        settings["adapt"] = adapt.model_dump()
        backbone = adapt_backbone(backbone, adapt)
    model = drawing_gpt(backbone, LEVELS, GRID, **settings).eval()
    if adapt is not None:
        stir(model, 0.3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("backbone."):
                parameter.copy_(torch.randn_like(parameter) * 0.5)
    return model


def codes_of(rows: int, seed: int = 0) -> np.ndarray:
    """(rows, places) random codes."""
    return np.random.default_rng(seed).integers(0, CODES, (rows, PLACES))


def words_of(rows: int, seed: int = 0) -> list[list[int]]:
    """Prompts of 1 to 5 words."""
    draws = np.random.default_rng(seed)
    return [draws.integers(0, VOCABULARY, draws.integers(1, 6)).tolist() for _ in range(rows)]
