"""From a recipe and its prepared data to built parts: names resolved, processor fitted, model assembled."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig

from sensorium import assets
from sensorium.data.schema import Schema
from sensorium.errors import DataError, RecipeError
from sensorium.jobs.loading import check_encoder, check_tokenizer, open_tokenizer, opening
from sensorium.jobs.prepare import Prepared
from sensorium.modalities.table import TableCodec
from sensorium.models.backbone import adapt_backbone, entry_layer, load_backbone, open_stack
from sensorium.models.encoders import build_encoder
from sensorium.models.multimodal_gpt import GPT, MultimodalGPT, MultimodalGPTConfig
from sensorium.models.processor import TABLE, TABLE_TYPES, Processor, ProcessorSettings
from sensorium.models.recogniser import FOLDER as RECOGNISER_FOLDER
from sensorium.models.recogniser import Recogniser
from sensorium.recipe import Recipe
from sensorium.training.memory import Shape
from sensorium.training.precision import Choice, choose


@dataclass
class Parts:
    """What a recipe builds.

    Attributes:
        folders: part (backbone, image, audio, text): the folder or hub id that its weights came from.
        choice: precision and attention kernel, and what was measured to choose them.
    """

    processor: Processor
    model: MultimodalGPT
    folders: dict[str, Path]
    choice: Choice


def resolve(name: str, key: str) -> str:
    """The folder of an asset or local model, or a hub id as it stands.

    Raises:
        RecipeError: a path that is no folder.
    """
    if name in assets.CATALOGUE:
        return str(assets.locate(name))
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise RecipeError(
            "no such folder", where=f"model.{key}: {name}", mend="give an asset's name, a model's folder or a hub id"
        )
    return _from_hub(name, key)


def _from_hub(name: str, key: str) -> str:
    """The local snapshot of a hub id; weights as safetensors, never code."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"])
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        near = difflib.get_close_matches(name, [*assets.CATALOGUE], n=1)
        mend = f"did you mean {near[0]}?" if near else f"assets: {', '.join(assets.CATALOGUE)}; or a folder"
        what = f"neither an asset nor a folder, and no hub gives it ({type(error).__name__})"
        raise RecipeError(what, where=f"model.{key}: {name}", mend=mend) from None


def build(recipe: Recipe, prepared: Prepared) -> Parts:
    """Everything that learns or encodes, for a recipe that is fully written out."""
    kinds = encoders_needed(recipe, prepared)
    named = encoder_names(recipe, kinds)
    folders = {key: resolve(name, key) for key, name in {"backbone": recipe.model.backbone, **named}.items()}
    processor = build_processor(recipe, prepared, kinds, folders)
    with opening("backbone", recipe.model.backbone):
        choice = choose_speed(recipe, folders["backbone"])
    torch.manual_seed(recipe.training.seed)  # new modules start alike for one seed
    backbone = load_backbone(folders["backbone"], dtype=choice.dtype, attention=choice.attention)
    check_tokenizer(processor.tokenizer, backbone, recipe.model.backbone)
    width, depth = backbone.config.hidden_size, backbone.config.num_hidden_layers
    entry = 0 if open_stack(backbone) is None else entry_layer(recipe.model.fusion, recipe.model.adapt, depth)
    recipe.model.fusion.from_layer = entry
    encoders = {}
    for kind, name in named.items():
        with opening(kind, str(name)):
            encoders[kind] = build_encoder(kind, folders[kind], dtype=torch.float32)
        check_encoder(kind, encoders[kind], str(name), recipe.model.image_size)
        encoders[kind].requires_grad_(recipe.model.tune_encoders)
    widths = {kind: encoder.width for kind, encoder in encoders.items()} | {TABLE: 64}
    config = MultimodalGPTConfig(
        inputs=kinds,
        widths={kind: int(widths[kind]) for kind in set(kinds.values())},
        fusion=recipe.model.fusion.model_dump(),
        adapt=recipe.model.adapt.model_dump(),
        classes=outputs(prepared),
        table=processor.codec.sizes() if processor.codec else {},
        reads_text=bool(processor.texts) or prepared.schema.task == "generate",
        feature_dropout=recipe.model.feature_dropout,
        modality_dropout=recipe.model.modality_dropout,
        backbone_width=width,
        backbone_layers=depth,
    )
    # in evaluation mode until the loop trains: what is computed once must not depend on dropout or on its batch
    model = MultimodalGPT(config, adapt_backbone(backbone, recipe.model.adapt), encoders).eval()
    return Parts(processor, model, {key: Path(folder) for key, folder in folders.items()}, choice)


def encoders_needed(recipe: Recipe, prepared: Prepared) -> dict[str, str]:
    """The model's inputs and the kind of encoder each needs. Text has one only where the recipe names it."""
    inputs = prepared.schema.inputs
    senses = ["image"] if recipe.model.speech == "recognition" else ["image", "audio"]
    if prepared.schema.messages:  # a chat may hold both, wherever encoders for them are named
        both = {"image_url": "image", "input_audio": "audio"}
        return {name: kind for name, kind in both.items() if kind in senses and getattr(recipe.model, kind) is not None}
    kinds: dict[str, str] = {name: kind for name, kind in inputs.items() if kind in senses}
    if recipe.model.text is not None:
        kinds |= {name: "text" for name, kind in inputs.items() if kind == "text"}
    for name in (TABLE, GPT):
        if name in kinds:
            raise DataError(
                f"{name} is the model's own name for something else", where=f"column {name}", mend="rename it"
            )
    if any(kind in TABLE_TYPES for kind in inputs.values()):
        kinds[TABLE] = TABLE
    return dict(sorted(kinds.items()))


def encoder_names(recipe: Recipe, kinds: dict[str, str]) -> dict[str, str]:
    """Kind: the recipe's name for its pretrained encoder. RecipeError where an input has none."""
    named = {kind: getattr(recipe.model, kind) for kind in sorted(set(kinds.values()) - {TABLE})}
    for kind, name in named.items():
        if name is None:
            raise RecipeError(f"the data have {kind} inputs", where=f"model.{kind}", mend="name an encoder for them")
    return named


def outputs(prepared: Prepared) -> int:
    """Outputs of the head: classes, 1 for a number, 0 where the GPT answers in words."""
    if prepared.schema.task == "generate":
        return 0
    return len(prepared.schema.classes) if prepared.schema.classes else 1


def build_processor(recipe: Recipe, prepared: Prepared, kinds: dict[str, str], folders: dict[str, str]) -> Processor:
    """The processor, its table codec and target scale fitted on training rows."""
    schema = prepared.schema
    settings = ProcessorSettings(
        task=schema.task,
        inputs=dict(schema.inputs),
        target_kind=schema.target_kind,
        classes=schema.classes,
        fusion=recipe.model.fusion.model_dump(),
        encoders=kinds,
        image_size=recipe.model.image_size,
        max_text_tokens=recipe.model.max_text_tokens,
        speech=recipe.model.speech if heard(prepared.schema) else "features",
    )
    if "image" in folders:
        with opening("image", folders["image"]):
            settings.image_mean, settings.image_std = image_statistics(folders["image"])
    if "audio" in folders:
        with opening("audio", folders["audio"]):
            config = AutoConfig.from_pretrained(folders["audio"], trust_remote_code=False)
        settings.audio_values = "log_mel" if config.model_type == "whisper" else "samples"
    table = {name: kind for name, kind in schema.inputs.items() if kind in TABLE_TYPES}
    if table and schema.messages is None:  # a chat tells them in words
        train = prepared.splits.train
        settings.table = TableCodec.fit({n: (kind, prepared.chunks(n, train)) for n, kind in table.items()}).to_dict()
    if schema.task == "classify" and not schema.classes:
        numbers = np.fromiter(prepared.chunks(str(schema.target), prepared.splits.train), dtype=np.float64)
        settings.target_mean, settings.target_scale = float(numbers.mean()), float(numbers.std() or 1.0)
    with opening("backbone", recipe.model.backbone):
        gpt = AutoConfig.from_pretrained(folders["backbone"], trust_remote_code=False)
    settings.context = getattr(gpt, "max_position_embeddings", None)
    if settings.context:  # a GPT made from nothing may read little; a start token stands before
        settings.max_text_tokens = min(settings.max_text_tokens, settings.context - 1)
    tokenizer = open_tokenizer(folders["backbone"], "backbone")
    words = open_tokenizer(folders["text"], "text") if "text" in folders else None
    recogniser = open_recogniser(recipe) if settings.speech != "features" else None
    processor = Processor(settings, tokenizer, words, prepared.read_media, recogniser)
    if schema.task == "generate":
        settings.choices = choices(processor, prepared, recipe)
    return processor


def heard(schema: Schema) -> bool:
    """Whether rows may hold sounds."""
    return schema.messages is not None or "audio" in schema.inputs.values()


def open_recogniser(recipe: Recipe) -> Recogniser:
    """What transcribes sounds: Whisper in CTranslate2's form, beside the audio encoder's weights.

    Raises:
        RecipeError: it is not there.
    """
    folder = Path(resolve(str(recipe.model.audio), "audio")) / RECOGNISER_FOLDER
    return Recogniser(folder, assets.cache_root() / "transcripts.sqlite")


def choices(processor: Processor, prepared: Prepared, recipe: Recipe) -> dict[str, list[str]]:
    """For each question asked often: its answers in training, where these are few and each comes often enough.

    A question is the row's text; more than fifty different ones are free text, for which nothing is listed.
    """
    if prepared.schema.messages or not processor.texts:
        return {}
    found: dict[str, dict[str, int]] = {}
    train = prepared.splits.train
    columns = [prepared.chunks(name, train) for name in processor.texts]
    for cells, target in zip(
        zip(*columns, strict=True), prepared.chunks(str(prepared.schema.target), train), strict=True
    ):
        question = processor.words({n: c for n, c in zip(processor.texts, cells, strict=True) if c is not None})
        counts = found.setdefault(question, {})
        counts[str(target)] = counts.get(str(target), 0) + 1
        if len(found) > 50:
            return {}
    few = recipe.evaluation.max_choices
    often = {q: c for q, c in found.items() if len(c) <= few and sum(c.values()) >= 5 * len(c)}
    return {question: sorted(counts) for question, counts in sorted(often.items())}


def image_statistics(folder: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation that an image encoder expects of pixels in [0, 1]; a half where it does not say."""
    path = Path(folder) / "preprocessor_config.json"
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    mean, std = raw.get("image_mean") or [0.5] * 3, raw.get("image_std") or [0.5] * 3
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def choose_speed(recipe: Recipe, backbone: str) -> Choice:
    """Precision and attention kernel for the GPT's shapes, by measuring this machine once."""
    config = AutoConfig.from_pretrained(backbone, trust_remote_code=False)
    size = recipe.training.micro_batch_size or recipe.training.batch_size
    shape = Shape.of(config, size, 96)
    return choose(shape, assets.cache_root() / "machine", recipe.training.precision, recipe.training.attention)


def trainable_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
