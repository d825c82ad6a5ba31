"""What items, users and reviews are made of: features by pretrained parts, numbers and categories."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium import assets
from sensorium.data.collate import Sequence as Tokens
from sensorium.data.collate import collate
from sensorium.data.interactions import Entities, Interactions
from sensorium.data.media import read_media
from sensorium.data.rows import Example
from sensorium.errors import MediaError, RecipeError
from sensorium.jobs.loading import open_tokenizer, opening
from sensorium.jobs.parts import image_statistics, resolve
from sensorium.jobs.ranking_gpt import RankingGPT
from sensorium.modalities import audio, image
from sensorium.modalities.table import TableCodec
from sensorium.models.encoders import build_encoder
from sensorium.models.item_tower import BY_GPT, Content
from sensorium.models.processor import Processor, ProcessorSettings
from sensorium.recipe import ModelRecipe, Recipe
from sensorium.run import sha256_text
from sensorium.training.feature_cache import cached_features, feature_key, weights_hash

TEXT_ENCODER = "all-minilm-l6-v2"  # where the recipe names none: titles are read by something that knows words
ENCODED = ("text", "image", "audio")  # kinds of columns that pretrained encoders read
ENCODED_TOGETHER = 32
LEAST_SPREAD = 1e-3


def item_contents(items: Entities, known: np.ndarray, recipe: Recipe, progress: Any) -> dict[str, Content]:
    """The inputs of the items that the recipe uses: name: fixed features or ids.

    Args:
        known: (items,) bool: items that training holds; means, spreads and values are learnt from these.

    Raises:
        RecipeError: an input that the item table does not have.
    """
    inputs = chosen_inputs(items, recipe.recommender.item_inputs if recipe.recommender else None, "item_inputs")
    found = {}
    for name, kind in inputs.items():
        cells = items.cells[name]
        if kind in ENCODED:
            found[name] = _encoded(name, kind, cells, known, recipe, items.root, progress)
        else:
            found[name] = _told(name, kind, cells, known)
    return found


def user_attributes(users: Entities, known: np.ndarray, names: list[str] | None) -> tuple[Tensor, Tensor, TableCodec]:
    """Numbers (users, n) fp32 and category ids (users, c) int64 of the users, and what they were made by.

    Text, pictures and sounds of users are not read.
    """
    inputs = chosen_inputs(users, names, "user_inputs")
    kept = {name: kind for name, kind in inputs.items() if kind not in ENCODED}
    rows = np.flatnonzero(known)
    codec = TableCodec.fit({n: (kind, [users.cells[n][int(row)] for row in rows]) for n, kind in kept.items()})
    if not kept:
        return torch.zeros(len(users), 0), torch.zeros(len(users), 0, dtype=torch.int64), codec
    told = codec.transform_batch({name: list(users.cells[name]) for name in kept})
    return torch.from_numpy(told["numbers"]), torch.from_numpy(told["categories"]), codec


def chosen_inputs(entities: Entities, names: list[str] | None, key: str) -> dict[str, str]:
    """Column: type, all of the table's or those named."""
    unknown = [name for name in names or [] if name not in entities.inputs]
    if unknown:
        mend = f"columns: {', '.join(entities.inputs) or 'none'}"
        raise RecipeError(f"there is no column {unknown[0]}", where=f"recommender.{key}", mend=mend)
    return {name: kind for name, kind in entities.inputs.items() if names is None or name in names}


def _told(name: str, kind: str, cells: Sequence[Any], known: np.ndarray) -> Content:
    codec = TableCodec.fit({name: (kind, [cells[int(row)] for row in np.flatnonzero(known)])})
    told = codec.transform_batch({name: list(cells)})
    if kind == "category":
        ids = torch.from_numpy(told["categories"][:, 0])
        return Content(ids, ids > 0, codec.sizes()["categories"][0])
    numbers = torch.from_numpy(told["numbers"])
    return Content(numbers, numbers[:, -1] == 0)  # the last feature flags what is missing


def review_contents(inter: Interactions, train: np.ndarray, recipe: Recipe, progress: Any) -> Content | None:
    """Features of the different reviews, in the order of ``inter.said``; None where no training interaction has one.

    Args:
        train: indices of training interactions; means and spreads are learnt from what these say.
    """
    texts, of = inter.said
    known = np.zeros(len(texts), dtype=bool)
    known[of[train][of[train] >= 0]] = True
    return _encoded("review", "text", texts, known, recipe, None, progress) if known.any() else None


def contents_by_gpt(
    items: Entities, names: list[str], known: np.ndarray, gpt: RankingGPT, recipe: Recipe, progress: Any
) -> dict[str, Content]:
    """Text columns as a GPT's own layers below the items' entry read them: the mean over a text's tokens.

    Args:
        names: the columns; known: as of ``item_contents``.
    """
    key = feature_key(weights_hash(gpt.model), kind="states", entry=gpt.entry, tokens=recipe.model.max_text_tokens)
    found = {}
    for name in names:
        cells = items.cells[name]

        def compute(rows: list[int], cells: Sequence[Any] = cells) -> list[Tensor]:
            return list(gpt.read([str(cells[row]) for row in rows])[0][:, None])

        found[name + BY_GPT] = _features(name + BY_GPT, "text", cells, known, compute, key, recipe, None, progress)
    return found


def _encoded(
    name: str, kind: str, cells: Sequence[Any], known: np.ndarray, recipe: Recipe, root: Path | None, progress: Any
) -> Content:
    asked = getattr(recipe.model, kind) or (TEXT_ENCODER if kind == "text" else None)
    if asked is None:
        raise RecipeError(f"items have {kind} inputs", where=f"model.{kind}", mend="name an encoder for them")
    compute, key = _encoder(name, kind, str(asked), recipe.model, cells, root)
    return _features(name, kind, cells, known, compute, key, recipe, root, progress)


def _features(
    name: str,
    kind: str,
    cells: Sequence[Any],
    known: np.ndarray,
    compute: Callable[[list[int]], list[Tensor]],
    key: str,
    recipe: Recipe,
    root: Path | None,
    progress: Any,
) -> Content:
    """Features (1, width) that ``compute`` gives of some rows, cached and standardised by the known ones."""
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
    width = features[0].shape[1] if there else 1
    values, present = torch.zeros(len(cells), width), torch.zeros(len(cells), dtype=torch.bool)
    for place, row in enumerate(there):
        values[row], present[row] = features[place][0], True
    learnt = values[present & torch.from_numpy(known)]
    if len(learnt) > 1:
        values = (values - learnt.mean(0)) / learnt.std(0).clamp(min=LEAST_SPREAD)
    return Content(values * present[:, None], present)


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


def _encoder(
    name: str, kind: str, asked: str, model: ModelRecipe, cells: Sequence[Any], root: Path | None
) -> tuple[Callable[[list[int]], list[Tensor]], str]:
    """What computes features (1, width) of some rows, and a key of all that changes them."""
    folder = resolve(asked, kind)
    settings = ProcessorSettings(
        task="classify",
        inputs={name: kind},
        target_kind="class",
        classes=None,
        fusion={"kind": "concat"},
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
            found += [vector[:1].clone() for vector in encoder(media.values, media.lengths, media.counts)]
        return found

    of_kind = {
        "image": [settings.image_size, settings.image_mean, settings.image_std],
        "audio": [settings.audio_values, settings.max_seconds],
        "text": [settings.max_text_tokens],
    }
    return compute, feature_key(weights_hash(encoder), kind=kind, positions="item", settings=of_kind[kind])
