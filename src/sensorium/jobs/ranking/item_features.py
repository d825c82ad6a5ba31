"""What items, users and reviews are made of: features by pretrained parts, numbers and categories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.data.interactions.arrays import Entities, Interactions
from sensorium.errors import RecipeError
from sensorium.jobs.cell_features import cell_features, computed_features
from sensorium.jobs.ranking.gpt import RankingGPT
from sensorium.modalities.table import TableCodec
from sensorium.models.ranking.item_tower import BY_GPT, Content
from sensorium.recipe import Recipe
from sensorium.training.feature_cache import feature_key, weights_hash

TEXT_ENCODER = "all-minilm-l6-v2"  # where the recipe names none: titles are read by something that knows words
ENCODED = ("text", "image", "audio")  # kinds of columns that pretrained encoders read
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

        features = computed_features(name + BY_GPT, "text", cells, compute, key, recipe, None, progress)
        found[name + BY_GPT] = _content(features, known)
    return found


def _encoded(
    name: str, kind: str, cells: Sequence[Any], known: np.ndarray, recipe: Recipe, root: Path | None, progress: Any
) -> Content:
    asked = getattr(recipe.model, kind) or (TEXT_ENCODER if kind == "text" else None)
    if asked is None:
        raise RecipeError(f"items have {kind} inputs", where=f"model.{kind}", mend="name an encoder for them")
    return _content(cell_features(name, kind, str(asked), cells, recipe, root, progress), known)


def _content(features: dict[int, Tensor], known: np.ndarray) -> Content:
    """The first vector of each row, standardised by the known ones."""
    width = next(iter(features.values())).shape[1] if features else 1
    values, present = torch.zeros(len(known), width), torch.zeros(len(known), dtype=torch.bool)
    for row, found in features.items():
        values[row], present[row] = found[0], True
    learnt = values[present & torch.from_numpy(known)]
    if len(learnt) > 1:
        values = (values - learnt.mean(0)) / learnt.std(0).clamp(min=LEAST_SPREAD)
    return Content(values * present[:, None], present)
