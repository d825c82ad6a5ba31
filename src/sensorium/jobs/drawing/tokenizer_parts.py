"""A tokenizer of pictures: built from a recipe, and opened from a run or a folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError

from sensorium.errors import RecipeError, RunError, first_line
from sensorium.jobs.parts import image_statistics, resolve
from sensorium.models.bars import without_bars
from sensorium.models.drawing.perceptual import Perceptual, open_perceptual
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer, PictureTokenizerConfig
from sensorium.recipe import Recipe, TokenizerRecipe
from sensorium.run import Run
from sensorium.training.memory import Shape

KEY = "drawing.tokenizer"


def build_picture_tokenizer(asked: TokenizerRecipe, seed: int) -> PictureTokenizer:
    """The model with its first weights, which follow from the seed, in evaluation mode."""
    torch.manual_seed(seed)
    config = PictureTokenizerConfig(
        size=asked.size,
        codes=asked.codes,
        levels=asked.levels,
        patch=asked.patch,
        widths=asked.widths,
        blocks=asked.blocks,
    )
    model: PictureTokenizer = PictureTokenizer(config).to(memory_format=torch.channels_last).eval()
    return model


def open_comparer(recipe: Recipe, dtype: torch.dtype = torch.float32) -> Perceptual | None:
    """What compares pictures by ``model.image``'s features; None where the recipe names no encoder.

    Raises:
        RecipeError: the loss wants one, and there is none.
    """
    asked, image = recipe.tokenizer, recipe.model.image
    if image is None:
        if asked is not None and asked.perceptual:
            raise RecipeError(
                "the perceptual loss compares features of an image encoder",
                where="model.image: null",
                mend="name one, such as efficientnet-lite0, or set tokenizer.perceptual: 0",
            )
        return None
    folder = resolve(image, "image")
    return open_perceptual(folder, image_statistics(folder), dtype)


def shape_of(asked: TokenizerRecipe, pictures: int) -> Shape:
    """The size of one forward pass, for measuring the machine: its widest convolution as a matrix product."""
    width = max(asked.widths)
    return Shape(pictures, asked.codes, width, 9 * width, 1, sum(asked.blocks))


def open_picture_tokenizer(name: str) -> PictureTokenizer:
    """The tokenizer of a run of task tokenize, or of a folder that ``save_pretrained`` wrote, in evaluation mode.

    Raises:
        RecipeError: neither is there.
        RunError: the run is not trained, or its files are damaged.
    """
    folder = Path(name).expanduser()
    mend = "give the folder of a run of task: tokenize, such as sensorium fit recipes/emoji-tokens.yaml makes"
    if not folder.is_dir():
        raise RecipeError("no such run or folder", where=f"{KEY}: {name}", mend=mend)
    if (folder / "run.json").is_file():
        run = Run(folder)
        if not run.done("trained"):
            raise RunError("the tokenizer is not trained", where=name, mend="run sensorium fit again: it goes on")
        folder = run.model
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind != PictureTokenizerConfig.model_type:
            raise RecipeError("holds no tokenizer of pictures", where=f"{KEY}: {name}", mend=mend)
        with without_bars():
            model: PictureTokenizer = PictureTokenizer.from_pretrained(folder).eval()
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError, SafetensorError) as error:
        raise RunError(f"the tokenizer cannot be read ({first_line(error)})", where=name, mend=mend) from None
    return model
