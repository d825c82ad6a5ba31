"""A run that draws, without a fit: tiny parts with random weights, and the words that it may say it has learnt."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sensorium.jobs.drawing.learnt import save_learnt
from sensorium.jobs.drawing.parts import build_drawing_model, save_drawing_model
from sensorium.jobs.pretraining.parts import SPECIAL, Start
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer, PictureTokenizerConfig
from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.recipe import Recipe
from sensorium.run import Run
from sensorium.training.precision import Choice

PROMPTS = ["red apple", "woman firefighter: dark skin tone", "give it dark skin", "make it a man", "keycap: 1"]
SIZE, CODES, WINDOW = 16, 16, 72


def tiny_drawing_run(folder: Path, languages: tuple[str, ...] = ("en",), **drawing: Any) -> Path:
    """A trained run of task draw, in the shape that ``fit`` leaves: 16 px a side, 16 codes, a llama of two layers."""
    scratch = {"architecture": "llama", "width": 32, "layers": 2, "heads": 2, "vocabulary": 320, "window": WINDOW}
    recipe = Recipe.parse(
        {
            "task": "draw",
            "data": {"source": "emoji-draw"},
            "model": {"scratch": scratch},
            "drawing": {"tokenizer": "made-here", "source": "source", **drawing},
            "output": str(folder),
        }
    )
    start = Start("llama", train_tokenizer(PROMPTS, scratch["vocabulary"], SPECIAL), WINDOW, None)
    torch.manual_seed(0)
    shapes = {"size": SIZE, "codes": CODES, "levels": (5, 4), "patch": 2, "widths": (8,), "blocks": (1,)}
    pictures = PictureTokenizer(PictureTokenizerConfig(**shapes)).eval()
    model = build_drawing_model(recipe, start, Choice("fp32", "sdpa", {}, {}), pictures, 0)
    with torch.no_grad():
        for parameter in model.parameters():  # large enough that the words and each code make a difference
            parameter.mul_(4)
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder)
    run.begin(recipe, "made by hand")
    save_drawing_model(model, start, pictures, recipe, run.model)
    if languages is not None:
        save_learnt(run.model, PROMPTS, languages, pretrained=False)
    run.write_recipe(recipe)
    run.finish("trained")
    return folder


def noise(width: int = 16, height: int = 16, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A picture of random pixels in any mode."""
    draws = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(draws.integers(0, 65_536, (height, width), dtype=np.uint16))
    return Image.fromarray(draws.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
