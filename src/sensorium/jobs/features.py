"""What is frozen, computed once: encoder features, the GPT's own reading, and the trunk below what trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.data.collate import Batch, collate
from sensorium.jobs.chats import ChatFeatures, Coded, chat_features, encoded, recognise
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


@dataclass
class Frozen:
    """Something frozen that turns rows into features.

    Attributes:
        columns: the table's columns that it reads; key: of its weights and of every setting that changes features.
        compute: row numbers -> features (positions, width) of each.
        reads: whether a row has anything to read.
    """

    name: str
    columns: list[str]
    key: str
    compute: Callable[[list[int]], list[Tensor]]
    reads: Callable[[int], bool]

    def of(
        self, prepared: Prepared, rows: np.ndarray, recipe: Recipe, folder: Path, progress: Progress, say: Say
    ) -> FeatureOf:
        """Features of ``rows``, computed once; those of other rows when asked for; None where a row has nothing to read."""
        there = [int(row) for row in rows if self.reads(int(row))]
        hashes = [sha256_text("|".join(prepared.content(column, row) for column in self.columns)) for row in there]
        with progress.task(f"features of {self.name}", len(set(hashes)), unit="items") as advance:
            features: Features = cached_features(
                folder,
                self.key,
                hashes,
                lambda places: self.compute([there[place] for place in places]),
                torch.float32,
                recipe.training.cache_gigabytes * 1024**3,
                lambda done, total: advance(done),
                say=say,
            )
        places = {row: place for place, row in enumerate(there)}
        seen = set(rows.tolist())

        def lookup(row: int) -> Tensor | None:
            if row in places:
                return features[places[row]]
            return None if row in seen or not self.reads(row) else self.compute([row])[0]

        return lookup


def encoder_features(
    parts: Parts, prepared: Prepared, recipe: Recipe, rows: np.ndarray, folder: Path, progress: Progress, say: Say
) -> dict[str, FeatureOf | ChatFeatures]:
    """Features of ``rows`` for every input whose encoder is frozen; {} where the recipe asks for none.

    Late fusions with a frozen GPT also get its reading of the text, as the input ``gpt``.
    """
    if not recipe.training.cache_features:
        return {}
    model, processor = parts.model, parts.processor
    if prepared.schema.messages:
        recognise(processor, prepared, rows, progress)
        return {
            name: chat_features(
                Coded(name, encoder_key(parts, name), partial(encoded, model)),
                processor,
                prepared,
                rows,
                recipe,
                folder,
                progress,
                say,
            )
            for name in processor.settings.encoders
        }
    frozen = [_encoder(parts, prepared, name) for name, kind in processor.settings.encoders.items() if kind != TABLE]
    if model.late and model.config.reads_text and model.trunk_depth == model.config.backbone_layers:
        frozen.append(_reader(parts, prepared))
    return {part.name: part.of(prepared, rows, recipe, folder, progress, say) for part in frozen}


def encoder_key(parts: Parts, name: str) -> str:
    """A key of an input's encoder and of every setting that changes its features."""
    model, processor, settings = parts.model, parts.processor, parts.processor.settings
    kind = settings.encoders[name]
    of_kind = {
        "image": [settings.image_size, settings.image_mean, settings.image_std],
        "audio": [settings.audio_values, settings.max_seconds],
        "text": [settings.max_text_tokens, _identity(processor.text_tokenizer)],
    }
    late = "late" if model.late else settings.fusion["tokens"]
    return feature_key(weights_hash(model.encoders[kind]), kind=kind, positions=late, settings=of_kind[kind])


def _encoder(parts: Parts, prepared: Prepared, name: str) -> Frozen:
    def compute(rows: list[int]) -> list[Tensor]:
        return encoded(parts.model, (parts.processor.item(name, prepared.rows[row], None, None) for row in rows))

    def reads(row: int) -> bool:
        return prepared.rows[row].inputs.get(name) is not None

    return Frozen(name, [name], encoder_key(parts, name), compute, reads)


def _reader(parts: Parts, prepared: Prepared) -> Frozen:
    """The GPT's own reading; column names are part of what it reads where there are several."""
    model, processor = parts.model, parts.processor
    limit, tokenizer = processor.settings.max_text_tokens, _identity(processor.tokenizer)
    key = feature_key(weights_hash(model.backbone), kind=GPT, limit=limit, tokenizer=tokenizer, columns=processor.texts)

    def reads(row: int) -> bool:
        return bool(processor.sequence([_only_text(prepared, processor, row)]).ids)

    return Frozen(GPT, processor.texts, key, _read(model, processor, prepared), reads)


def _identity(tokenizer: Any) -> str:
    """A hash of a tokenizer's content."""
    return sha256_text(
        tokenizer.backend_tokenizer.to_str() if hasattr(tokenizer, "backend_tokenizer") else repr(tokenizer)
    )


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


def row_summary(features: FeatureOf | ChatFeatures, row: int) -> Tensor | None:
    """What sums up a row's features (width,): of a chat the mean over its media; None where it has none."""
    if isinstance(features, ChatFeatures):
        vectors = [found[0].float() for found in features.of_row(row)]
        return torch.stack(vectors).mean(0) if vectors else None
    found = features(row)
    return None if found is None else found[0].float()


def summaries(
    cached: Mapping[str, FeatureOf | ChatFeatures], rows: np.ndarray, most: int = 20_000
) -> dict[str, Tensor]:
    """The summing-up feature of each input over rows that have it: input: (rows, width)."""
    found = {}
    for name, features in cached.items():
        vectors = [v for v in (row_summary(features, int(row)) for row in rows[:most]) if v is not None]
        if vectors:
            found[name] = torch.stack(vectors)
    return found
