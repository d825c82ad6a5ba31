"""From a recipe and its interactions to a ranking model: everything fixed read into it, its first weights drawn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium.errors import RecipeError
from sensorium.jobs.parts import trainable_parameters
from sensorium.jobs.ranking.gpt import SAMPLE, SMALL, open_gpt
from sensorium.jobs.ranking.item_features import (
    chosen_inputs,
    contents_by_gpt,
    item_contents,
    review_contents,
    user_attributes,
)
from sensorium.jobs.ranking.rankings import Shop
from sensorium.models.ranking.config import RecommenderConfig
from sensorium.models.ranking.recommender import Recommender
from sensorium.recipe import Recipe
from sensorium.training.precision import Choice


@dataclass
class RecommenderParts:
    """What a recipe builds.

    Attributes:
        source: the folder of a pretrained GPT's weights; None for the small one.
        choice: precision and attention kernel.
    """

    model: Recommender
    source: Path | None
    choice: Choice


def build_recommender(shop: Shop, recipe: Recipe, progress: Any) -> RecommenderParts:
    """The model with its first weights, which follow from the seed, and all that is fixed in it."""
    asked, inter = recipe.recommender, shop.inter
    assert asked is not None
    known = shop.popularity > 0
    graph = inter.knowledge if asked.knowledge != "none" else None
    if asked.knowledge != "none" and graph is None:
        raise RecipeError(
            "the data hold no knowledge graph", where="recommender.knowledge", mend="set it to none, or name one"
        )
    contents = item_contents(inter.items, known, recipe, progress)
    texts = [
        name for name, kind in chosen_inputs(inter.items, asked.item_inputs, "item_inputs").items() if kind == "text"
    ]
    gpt = None if asked.backbone == SMALL else open_gpt(recipe)
    if gpt is not None:
        contents |= contents_by_gpt(inter.items, texts, known, gpt, recipe, progress)
    reviews = review_contents(inter, shop.splits.train, recipe, progress) if asked.reviews else None
    taught = np.zeros(len(inter.users), dtype=bool)
    taught[inter.user[shop.splits.train]] = True
    numbers, categories, codec = user_attributes(inter.users, taught, asked.user_inputs)
    ratings = inter.rating[shop.splits.train]
    rated = bool(np.isfinite(ratings).any())
    config = RecommenderConfig(
        items=len(inter.items),
        users=len(inter.users),
        width=asked.width,
        layers=asked.layers,
        heads=asked.heads,
        history=asked.history,
        dropout=asked.dropout,
        shapes={name: [list(content.values.shape), content.size] for name, content in contents.items()},
        user_numbers=numbers.shape[1],
        user_categories=codec.sizes()["categories"],
        identity=asked.identity,
        identity_dropout=asked.identity_dropout,
        gaps=asked.gaps,
        ratings=asked.ratings and rated,
        rating_range=[float(np.nanmin(ratings)), float(np.nanmax(ratings))] if rated else None,
        entities=len(graph.entities) if graph else 0,
        relations=len(graph.relations) if graph else 0,
        fusion=recipe.model.fusion.kind,
        gpt={"entry": gpt.entry, "precision": gpt.choice.precision} if gpt else None,
        adapt=recipe.model.adapt.model_dump() if gpt else None,
        reviews=None if reviews is None else list(reviews.values.shape),
    )
    torch.manual_seed(recipe.training.seed)
    reader = None if gpt is None else gpt.reader(recipe, _some_texts(shop, texts))
    model: Recommender = Recommender(config, reader)
    of_item = None if graph is None else torch.from_numpy(graph.of_item)
    model.fill(contents, torch.from_numpy(known), of_item, numbers, categories, reviews)
    model.eval()
    if gpt is None:
        return RecommenderParts(model, None, Choice("fp32", "sdpa", {}, {}))
    total = sum(parameter.numel() for parameter in model.parameters())
    progress(
        f"trains {trainable_parameters(model):,} of {total:,} parameters, {recipe.model.adapt.method}, "
        f"{gpt.choice.precision}, {gpt.choice.attention} attention; items enter at layer {gpt.entry}"
    )
    return RecommenderParts(model, gpt.folder, gpt.choice)


def at_speed(recipe: Recipe, precision: str, attention: str) -> Recipe:
    """The recipe with what was measured written into it."""
    training = recipe.training.model_copy(update={"precision": precision, "attention": attention})
    return recipe.model_copy(update={"training": training})


def _some_texts(shop: Shop, names: list[str]) -> list[str]:
    """Texts of items that training holds, by which the size of a GPT's stream is taken."""
    known, cells = np.flatnonzero(shop.popularity > 0).tolist(), shop.inter.items.cells
    found = (str(cells[name][row]) for row in known for name in names if cells[name][row])
    return list(islice(found, SAMPLE))
