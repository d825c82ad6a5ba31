"""The language model that is pretrained, from nothing or from weights, with its tokenizer; and its folder afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForMaskedLM

from sensorium import assets
from sensorium.data.text.masking import sentinel_names
from sensorium.errors import RecipeError, RunError, first_line
from sensorium.jobs.loading import check_tokenizer, open_tokenizer, opening
from sensorium.jobs.parts import resolve
from sensorium.models.backbone import PROMPT_METHODS, adapt_backbone, causal_lm, load_backbone
from sensorium.models.language.alignment import save_alignment
from sensorium.models.language.pretraining import BIDIRECTIONAL, Alignment, PretrainingModel
from sensorium.models.language.scratch import build
from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.models.saving import KEPT, put
from sensorium.objectives.contrastive import FIRST_LOG_SCALE
from sensorium.recipe import Recipe
from sensorium.training.memory import Shape
from sensorium.training.precision import Choice, choose

FOR_TOKENIZER = 50_000_000  # characters that a tokenizer is trained on at the most, the first ones
HEADS = "heads.safetensors"
SPECIAL = ("<pad>", "<s>", "</s>", "<mask>")
SPECIAL_BERT = ("<pad>", "<cls>", "<sep>", "<mask>")


@dataclass
class Start:
    """What pretraining starts from.

    Attributes:
        model_type: of transformers; window: most tokens of a sequence; folder: of the weights, None from nothing.
    """

    model_type: str
    tokenizer: Any
    window: int
    folder: str | None

    @property
    def causal(self) -> bool:
        return self.model_type not in BIDIRECTIONAL

    @property
    def pad_id(self) -> int:
        """What fills up shorter sequences; nothing looks at it."""
        return int(self.tokenizer.pad_token_id or 0)


def architecture(recipe: Recipe) -> str:
    """The model type of what the recipe pretrains, without its weights."""
    if recipe.model.scratch is not None:
        return recipe.model.scratch.architecture
    folder = resolve(recipe.model.backbone, "backbone")
    with opening("backbone", recipe.model.backbone):
        return str(AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type)


def open_start(recipe: Recipe, texts: Callable[[], Iterable[str]], kept: Path) -> Start:
    """The tokenizer, trained on ``texts()`` where the model is made from nothing, and what follows from the recipe.

    Args:
        kept: folder that a trained tokenizer is written to, and read from by a run that goes on.
    """
    scratch, kind = recipe.model.scratch, architecture(recipe)
    if scratch is None:
        folder = resolve(recipe.model.backbone, "backbone")
        with opening("backbone", recipe.model.backbone):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        window = min(int(getattr(config, "max_position_embeddings", None) or 2**31), recipe.model.max_text_tokens)
        return Start(kind, open_tokenizer(folder, "backbone"), window, folder)
    if (kept / "tokenizer.json").is_file():
        from transformers import PreTrainedTokenizerFast

        return Start(kind, PreTrainedTokenizerFast.from_pretrained(kept), scratch.window, None)
    special: tuple[str, ...] = SPECIAL_BERT if kind in BIDIRECTIONAL else SPECIAL
    if kind not in BIDIRECTIONAL and recipe.pretraining is not None and "masked_lm" in recipe.pretraining.objectives:
        special = (*special, *sentinel_names())
    tokenizer = train_tokenizer(first(texts()), scratch.vocabulary, special)
    tokenizer.model_max_length = scratch.window
    tokenizer.save_pretrained(kept)
    return Start(kind, tokenizer, scratch.window, None)


def first(texts: Iterable[str], most: int = FOR_TOKENIZER) -> Iterator[str]:
    """The first texts, ``most`` characters and what is left of the last one."""
    for text in texts:
        yield text
        most -= len(text)
        if most <= 0:
            return


def choose_speed(recipe: Recipe, start: Start, sequences: int) -> Choice:
    """Precision and attention kernel for windows of this model, by measuring this machine once."""
    if recipe.model.scratch is not None:
        made = recipe.model.scratch
        ffn = made.feed_forward or 4 * made.width
        shape = Shape(sequences, start.window, made.width, ffn, made.heads, made.layers)
    else:
        config = AutoConfig.from_pretrained(start.folder, trust_remote_code=False)
        shape = Shape.of(config, sequences, start.window)
    return choose(shape, assets.cache_root() / "machine", recipe.training.precision, recipe.training.attention)


def build_model(recipe: Recipe, start: Start, choice: Choice, alignment: tuple[str, int] | None) -> PretrainingModel:
    """The model with its first weights, which follow from the seed, in evaluation mode.

    Args:
        alignment: column and feature width of the media, where there are some.
    """
    asked, adapt = recipe.pretraining, recipe.model.adapt
    assert asked is not None
    torch.manual_seed(recipe.training.seed)
    if recipe.model.scratch is not None:
        backbone: Any = build(recipe.model.scratch, start.tokenizer)
        backbone.set_attn_implementation(choice.attention)
        backbone = backbone.to(choice.dtype)
    else:
        backbone = _pretrained(start, str(start.folder), choice.dtype, choice.attention)
        check_tokenizer(start.tokenizer, backbone, recipe.model.backbone)
        if adapt.method in PROMPT_METHODS or (start.model_type in BIDIRECTIONAL and adapt.method != "full"):
            mend = "set full" if start.model_type in BIDIRECTIONAL else "set full or lora"
            raise RecipeError(f"{adapt.method} does not pretrain this model", where="model.adapt.method", mend=mend)
        backbone = adapt_backbone(backbone, adapt)
    joined = None if alignment is None else Alignment(*alignment, log_scale=FIRST_LOG_SCALE)
    model = PretrainingModel(backbone, list(asked.objectives), joined, recipe.model.feature_dropout)
    return model.eval()


def _pretrained(start: Start, folder: str, dtype: torch.dtype, attention: str) -> Any:
    if start.causal:
        return load_backbone(folder, dtype=dtype, attention=attention)
    with opening("backbone", folder):
        return AutoModelForMaskedLM.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention, trust_remote_code=False
        )


def read_model(model: PretrainingModel, start: Start, folder: Path) -> None:
    """The trained weights of an earlier sitting into a model that was built for this one.

    Raises:
        RunError: a file is missing or damaged.
    """
    lm = causal_lm(model.backbone)
    model.backbone = _pretrained(start, str(folder), lm.dtype, lm.config._attn_implementation)
    try:
        model.load_state_dict(load_file(folder / HEADS), strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunError(
            f"{HEADS} cannot be read ({first_line(error)})", where=str(folder), mend="rerun with --fresh"
        ) from None


def save_model(model: PretrainingModel, start: Start, folder: Path, encoder: tuple[str, Path] | None) -> None:
    """The language model and its tokenizer, as ``transformers`` opens them; adapters are merged into the weights.

    Args:
        encoder: kind of the media and the folder of their encoder, which stands with its alignment in ``folder/KIND``.
    """
    if hasattr(model.backbone, "merge_and_unload"):
        model.backbone = model.backbone.merge_and_unload()
    causal_lm(model.backbone).save_pretrained(folder)
    start.tokenizer.save_pretrained(folder)
    heads = {name: value.contiguous() for name, value in model.state_dict().items() if not name.startswith("backbone.")}
    save_file(heads, folder / HEADS, {"format": "pt"})
    if encoder is not None:
        kind, source = encoder
        inner = folder / kind
        inner.mkdir()
        for file in sorted(source.iterdir()):
            if file.suffix in KEPT and file.name != "manifest.json":
                put(file, inner / file.name)
        save_alignment(model.media, inner)
