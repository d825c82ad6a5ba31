"""What is frozen, computed once: encoder features, the GPT's own reading, and the trunk below what trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sensorium.data.collate import Batch, Sequence, collate
from sensorium.jobs.feed import FeatureOf, Feed, Trunk, bare, hidden_dtype, trunk_key
from sensorium.jobs.parts import Parts
from sensorium.jobs.prepare import Prepared
from sensorium.models.multimodal_gpt import GPT, MultimodalGPT
from sensorium.models.processor import TABLE, Processor
from sensorium.recipe import Recipe
from sensorium.run import sha256_text
from sensorium.training.feature_cache import Features, cached_features, feature_key, weights_hash
from sensorium.training.protocols import Progress, Say

ENCODED_TOGETHER = 32


def encoder_features(
    parts: Parts, prepared: Prepared, recipe: Recipe, rows: np.ndarray, folder: Path, progress: Progress, say: Say
) -> dict[str, FeatureOf]:
    """Features of ``rows`` for every input whose encoder is frozen; {} where the recipe asks for none.

    Late fusions with a frozen GPT also get its reading of the text, as the input ``gpt``.
    """
    model, processor = parts.model, parts.processor
    if not recipe.training.cache_features:
        return {}
    names = [name for name, kind in processor.settings.encoders.items() if kind != TABLE]
    found = {}
    for name in names:
        kind = processor.settings.encoders[name]
        key = feature_key(
            weights_hash(model.encoders[kind]),
            kind=kind,
            fusion=recipe.model.fusion.tokens,
            late=model.late,
            size=recipe.model.image_size if kind == "image" else recipe.model.max_text_tokens,
        )
        found[name] = _stored(
            prepared,
            name,
            rows,
            key,
            _encode(model, processor, prepared, name),
            torch.float32,
            folder,
            recipe,
            progress,
            say,
        )
    if model.late and model.config.reads_text and model.trunk_depth == model.config.backbone_layers:
        key = feature_key(weights_hash(model.backbone), kind=GPT, limit=recipe.model.max_text_tokens)
        found[GPT] = _stored(
            prepared, GPT, rows, key, _read(model, processor, prepared), torch.float32, folder, recipe, progress, say
        )
    return found


def _stored(
    prepared: Prepared,
    name: str,
    rows: np.ndarray,
    key: str,
    compute: Callable[[list[int]], list[Tensor]],
    dtype: torch.dtype,
    folder: Path,
    recipe: Recipe,
    progress: Progress,
    say: Say,
) -> FeatureOf:
    texts = prepared.schema.inputs
    columns = [n for n, kind in texts.items() if kind == "text"] if name == GPT else [name]
    there = [
        int(row) for row in rows if any(prepared.rows[int(row)].inputs.get(column) is not None for column in columns)
    ]
    hashes = [sha256_text("|".join(prepared.content(column, row) for column in columns)) for row in there]
    with progress.task(f"features of {name}", len(set(hashes)), unit="items") as advance:
        features: Features = cached_features(
            folder,
            key,
            hashes,
            lambda places: compute([there[place] for place in places]),
            dtype,
            recipe.training.cache_gigabytes * 1024**3,
            lambda done, total: advance(done),
            say=say,
        )
    places = {row: place for place, row in enumerate(there)}
    return lambda row: features[places[row]] if row in places else None


def _encode(
    model: MultimodalGPT, processor: Processor, prepared: Prepared, name: str
) -> Callable[[list[int]], list[Tensor]]:
    """Rows -> features of input ``name``, by its encoder."""

    @torch.inference_mode()
    def compute(rows: list[int]) -> list[Tensor]:
        found: list[Tensor] = []
        for start in range(0, len(rows), ENCODED_TOGETHER):
            items = [
                processor.item(name, prepared.rows[row], None, None) for row in rows[start : start + ENCODED_TOGETHER]
            ]
            media = collate([Sequence([], [], [], [], [item], []) for item in items]).media[name]
            features = model.features(name, media)
            found += [row[: item.positions].clone() for row, item in zip(features, items, strict=True)]
        return found

    return compute


def _read(model: MultimodalGPT, processor: Processor, prepared: Prepared) -> Callable[[list[int]], list[Tensor]]:
    """Rows -> the GPT's own reading of their texts, (1, width) each."""

    @torch.inference_mode()
    def compute(rows: list[int]) -> list[Tensor]:
        found: list[Tensor] = []
        for start in range(0, len(rows), ENCODED_TOGETHER):
            group = rows[start : start + ENCODED_TOGETHER]
            sequences = [bare(processor.sequence([_only_text(prepared, processor, row)])) for row in group]
            found += list(model.reading(collate(sequences, processor.tokenizer.eos_token_id or 0))[:, None].float())
        return found

    return compute


def _only_text(prepared: Prepared, processor: Processor, row: int):  # type: ignore[no-untyped-def]
    example = prepared.rows[row]
    texts = {name: cell for name, cell in example.inputs.items() if name in processor.texts}
    return type(example)(example.row, texts, None)


def trunk_of(
    parts: Parts, feed: Feed, groups: list[list[int]], recipe: Recipe, folder: Path, progress: Progress, say: Say
) -> Trunk | None:
    """The trunk's hidden states for ``groups`` on disk, and others as they come; None where nothing lies below."""
    model = parts.model
    if not recipe.training.cache_features or model.late or model.trunk_depth == 0 or model.stack is None:
        return None
    sequences: dict[str, list[int]] = {}
    for group in groups:
        sequences.setdefault(trunk_key(feed.sequence(group)), group)
    keys = list(sequences)

    @torch.inference_mode()
    def compute(places: list[int]) -> list[Tensor]:
        found: list[Tensor] = []
        for start in range(0, len(places), ENCODED_TOGETHER):
            some = [bare(feed.sequence(sequences[keys[place]])) for place in places[start : start + ENCODED_TOGETHER]]
            hidden = model.trunk(collate(some, parts.processor.tokenizer.eos_token_id or 0))
            found += [row[: len(sequence.ids)].clone() for row, sequence in zip(hidden, some, strict=True)]
        return found

    dtype = hidden_dtype(model.backbone)
    key = feature_key(weights_hash(model.backbone), depth=model.trunk_depth, dtype=str(dtype))
    with progress.task("trunk", len(keys), unit="sequences") as advance:
        features = cached_features(
            folder,
            key,
            keys,
            compute,
            dtype,
            recipe.training.cache_gigabytes * 1024**3,
            lambda done, total: advance(done),
            say=say,
        )
    return Trunk(_below(model), _Store(features, {key: place for place, key in enumerate(keys)}))


def _below(model: MultimodalGPT) -> Callable[[Batch], Tensor]:
    @torch.inference_mode()
    def compute(batch: Batch) -> Tensor:
        return model.trunk(batch).clone()

    return compute


class _Store(Mapping[str, Tensor]):
    """Features by key."""

    def __init__(self, features: Features, places: dict[str, int]) -> None:
        self.features, self.places = features, places

    def __getitem__(self, key: str) -> Tensor:
        return self.features[self.places[key]]

    def __contains__(self, key: object) -> bool:
        return key in self.places

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def summaries(cached: Mapping[str, FeatureOf], rows: np.ndarray, most: int = 20_000) -> dict[str, Tensor]:
    """The summing-up feature of each input over rows that have it: input: (rows, width)."""
    found = {}
    for name, features in cached.items():
        vectors = [v[0].float() for v in (features(int(row)) for row in rows[:most]) if v is not None]
        if vectors:
            found[name] = torch.stack(vectors)
    return found
