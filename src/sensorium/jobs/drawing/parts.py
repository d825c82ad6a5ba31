"""A drawing model's parts: the GPT, its words, its pictures' codes; built from a recipe, saved, and opened again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoTokenizer

from sensorium.errors import RecipeError, RunError, first_line
from sensorium.jobs.cell_features import cell_encoder
from sensorium.jobs.loading import check_tokenizer
from sensorium.jobs.parts import resolve
from sensorium.jobs.pretraining.parts import Start
from sensorium.models.backbone import adapt_backbone, load_backbone
from sensorium.models.drawing.drawing_gpt import DrawingGPT, drawing_gpt
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer
from sensorium.models.language.scratch import build
from sensorium.models.saving import KEPT, put
from sensorium.recipe import FusionRecipe, ModelRecipe, Recipe
from sensorium.run import write_json
from sensorium.training.precision import Choice

PICTURES = "tokenizer_of_pictures"
ENCODER = "image_encoder"
SETTINGS = "drawing.json"
ReadPictures = Callable[[Sequence[bytes]], Tensor]


@dataclass
class DrawingModel:
    """What draws, edits and captions.

    Attributes:
        model: in evaluation mode. words: the tokenizer of words. pictures: that of pictures.
        settings: ``read`` (what captions are read from), ``guidance``, ``temperature``.
        features: of pictures' bytes -> (n, positions, width); None where captions read none.
    """

    model: DrawingGPT
    words: Any
    pictures: PictureTokenizer
    settings: dict[str, Any]
    features: ReadPictures | None = None

    def encode(self, text: str) -> list[int]:
        """Word ids of a prompt."""
        return word_ids(self.words, text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of word ids."""
        return text_of(self.words, ids)


def word_ids(words: Any, text: str) -> list[int]:
    """A tokenizer's ids of a text; names of special tokens in it are plain words."""
    found = words([text], add_special_tokens=False, split_special_tokens=True)["input_ids"][0]
    return [int(word) for word in found]


def text_of(words: Any, ids: Sequence[int]) -> str:
    """The text of a tokenizer's ids, special ones left out."""
    return str(words.decode(list(ids), skip_special_tokens=True)).strip()


def build_drawing_model(
    recipe: Recipe, start: Start, choice: Choice, pictures: PictureTokenizer, feature_width: int
) -> DrawingGPT:
    """The model with its first weights, which follow from the seed, in evaluation mode.

    Raises:
        RecipeError: a backbone that reads both ways or has another vocabulary, or pictures that its window cannot hold.
    """
    torch.manual_seed(recipe.training.seed)
    if not start.causal:
        raise RecipeError(
            f"{start.model_type} reads both ways and cannot draw one code after another",
            where="model.scratch.architecture" if recipe.model.scratch else "model.backbone",
            mend="set llama or gpt2",
        )
    adapt: dict[str, Any] = {"method": "full"}
    if recipe.model.scratch is not None:
        backbone: Any = build(recipe.model.scratch, start.tokenizer)
        backbone.set_attn_implementation(choice.attention)
    else:
        adapt = recipe.model.adapt.model_dump()
        backbone = load_backbone(str(start.folder), dtype=choice.dtype, attention=choice.attention)
        check_tokenizer(start.tokenizer, backbone, recipe.model.backbone)
        backbone = adapt_backbone(backbone, recipe.model.adapt)
    model = drawing_gpt(
        backbone,
        pictures.config.levels,
        pictures.grid,
        feature_width=feature_width,
        feature_dropout=recipe.model.feature_dropout,
        adapt=adapt,
    )
    built: DrawingGPT = model.to(choice.dtype).eval()
    return built


def save_drawing_model(
    model: DrawingGPT, start: Start, pictures: PictureTokenizer, recipe: Recipe, folder: Path
) -> None:
    """``model/``: the GPT, its words' tokenizer, its pictures' in a folder of its own, the image encoder beside it."""
    asked = recipe.drawing
    assert asked is not None
    model.save_pretrained(folder, source=None if start.folder is None else Path(start.folder))
    start.tokenizer.save_pretrained(folder)
    pictures.save_pretrained(folder / PICTURES)
    if asked.read != "codes":
        source, inner = Path(resolve(str(recipe.model.image), "image")), folder / ENCODER
        inner.mkdir(exist_ok=True)
        for file in sorted(source.iterdir()):
            if file.suffix in KEPT and file.name != "manifest.json":
                put(file, inner / file.name)
    told = {
        "read": asked.read,
        "guidance": asked.guidance,
        "temperature": asked.temperature,
        "image_size": recipe.model.image_size,
        "feature_positions": recipe.model.fusion.tokens,
    }
    write_json(folder / SETTINGS, told)


def open_drawing_model(folder: Path) -> DrawingModel:
    """What ``save_drawing_model`` wrote. RunError where a file is missing or damaged."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        words = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        pictures = PictureTokenizer.from_pretrained(folder / PICTURES).eval()
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        cause = first_line(error)
        raise RunError(
            f"the model cannot be read ({cause})", where=str(folder), mend="fit again with --fresh"
        ) from None
    model = DrawingGPT.open(folder)
    features = None
    if settings["read"] != "codes":
        features = _reader(folder / ENCODER, settings)
    return DrawingModel(model, words, pictures, settings, features)


def _reader(folder: Path, settings: dict[str, Any]) -> ReadPictures:
    """From pictures' bytes to features, as training computed them."""
    cells: list[bytes] = []
    fusion = FusionRecipe(kind="tokens", tokens=settings["feature_positions"])
    model = ModelRecipe(image_size=settings["image_size"])
    compute, _ = cell_encoder("picture", "image", str(folder), model, cells, None, fusion)

    def read(pictures: Sequence[bytes]) -> Tensor:
        cells[:] = list(pictures)
        return torch.stack(compute(list(range(len(pictures)))))

    return read
