"""Features of a table's cells by a pretrained encoder, outside of any GPT: computed once, kept by content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium import assets
from sensorium.data.collate import Sequence as Tokens
from sensorium.data.collate import collate
from sensorium.data.media import read_media
from sensorium.data.rows import Example
from sensorium.errors import MediaError
from sensorium.jobs.loading import open_tokenizer, opening
from sensorium.jobs.parts import image_statistics, resolve
from sensorium.modalities import audio, image
from sensorium.models.encoders import build_encoder
from sensorium.models.processor import Processor, ProcessorSettings
from sensorium.recipe import FusionRecipe, ModelRecipe, Recipe
from sensorium.run import sha256_text
from sensorium.training.feature_cache import cached_features, feature_key, weights_hash

ENCODED_TOGETHER = 32
SUMMARY = FusionRecipe(kind="concat")  # one position a cell, which sums it up
Compute = Callable[[list[int]], list[Tensor]]  # rows -> features (positions, width) of each


def cell_features(
    name: str,
    kind: str,
    asked: str,
    cells: Sequence[Any],
    recipe: Recipe,
    root: Path | None,
    progress: Any,
    fusion: FusionRecipe = SUMMARY,
) -> dict[int, Tensor]:
    """Row -> features (positions, width) fp32 of every cell that can be read; others are counted and said.

    Args:
        name, kind: of the column: text, image, audio. asked: the encoder, as a recipe names it.
        root: the folder that media paths lie under.
        fusion: how many positions a cell has: one, or as many as ``tokens`` asks for.
    """
    compute, key = cell_encoder(name, kind, asked, recipe.model, cells, root, fusion)
    return computed_features(name, kind, cells, compute, key, recipe, root, progress)


def computed_features(
    name: str,
    kind: str,
    cells: Sequence[Any],
    compute: Compute,
    key: str,
    recipe: Recipe,
    root: Path | None,
    progress: Any,
) -> dict[int, Tensor]:
    """As ``cell_features``, of rows that ``compute`` gives; ``key`` names all that changes what it gives."""
    contents = {row: _content(cells[row], kind, root) for row in range(len(cells)) if cells[row] not in (None, "")}
    there = [row for row, content in contents.items() if content is not None]
    if len(there) < len(contents):
        progress(f"{len(contents) - len(there)} items have a {name} that cannot be read: it counts as missing")
    hashes = [str(contents[row]) for row in there]
    with progress.task(f"features of {name}", len(set(hashes)), unit="items") as advance:
        features = cached_features(
            assets.cache_root() / "features",
            key,
            hashes,
            lambda places: compute([there[place] for place in places]),
            torch.float32,
            recipe.training.cache_gigabytes * 1024**3,
            lambda done, total: advance(done),
            say=progress,
        )
    return {row: features[place].clone() for place, row in enumerate(there)}


def cell_encoder(
    name: str,
    kind: str,
    asked: str,
    model: ModelRecipe,
    cells: Sequence[Any],
    root: Path | None,
    fusion: FusionRecipe = SUMMARY,
) -> tuple[Compute, str]:
    """What computes features (positions, width) of some rows, and a key of all that changes them.

    ``cells`` may still be filled when the encoder is there: it is read when rows are asked for.
    """
    folder = resolve(asked, kind)
    settings = ProcessorSettings(
        task="classify",
        inputs={name: kind},
        target_kind="class",
        classes=None,
        fusion=fusion.model_dump(),
        encoders={name: kind},
        image_size=model.image_size,
        max_text_tokens=model.max_text_tokens,
    )
    words = None
    with opening(kind, asked):
        encoder = build_encoder(kind, folder, dtype=torch.float32)
        if kind == "image":
            settings.image_mean, settings.image_std = image_statistics(folder)
        if kind == "audio":
            settings.audio_values = "log_mel" if encoder.whisper else "samples"
        if kind == "text":
            words = open_tokenizer(folder, "text")
    processor = Processor(settings, words, words, lambda cell: read_media(cell, root), None)

    @torch.inference_mode()
    def compute(rows: list[int]) -> list[Tensor]:
        found: list[Tensor] = []
        for start in range(0, len(rows), ENCODED_TOGETHER):
            some = [Example(row, {name: cells[row]}, None) for row in rows[start : start + ENCODED_TOGETHER]]
            items = [processor.item(name, example, None, None) for example in some]
            media = collate([Tokens([], [], [], [], [item], []) for item in items]).media[name]
            features = encoder(media.values, media.lengths, media.counts)
            found += [one[:count].clone() for one, count in zip(features, media.counts.tolist(), strict=True)]
        return found

    of_kind = {
        "image": [settings.image_size, settings.image_mean, settings.image_std],
        "audio": [settings.audio_values, settings.max_seconds],
        "text": [settings.max_text_tokens],
    }
    positions = "item" if fusion.kind == "concat" else fusion.tokens
    return compute, feature_key(weights_hash(encoder), kind=kind, positions=positions, settings=of_kind[kind])


def _content(cell: Any, kind: str, root: Path | None) -> str | None:
    """A hash of what stands in a cell: of the file's bytes for media; None where they cannot be read."""
    if kind == "text":
        return sha256_text(str(cell))
    try:
        data = read_media(cell, root)
        (image.header if kind == "image" else audio.header)(data)
    except MediaError:
        return None
    return hashlib.sha256(data).hexdigest()
