"""``model/README.md`` of a recommend run."""

from __future__ import annotations

from typing import Any

from sensorium.evaluation.ranking_report import summary
from sensorium.jobs.card import LOADED, page
from sensorium.jobs.ranking.gpt import SMALL
from sensorium.jobs.ranking.item_features import ENCODED, TEXT_ENCODER, chosen_inputs
from sensorium.jobs.ranking.rankings import Shop
from sensorium.models.ranking.recommender import Recommender
from sensorium.recipe import Recipe


def ranking_card(recipe: Recipe, shop: Shop, model: Recommender, metrics: dict[str, Any]) -> str:
    """A model card, from what the run measured."""
    asked, inter = recipe.recommender, shop.inter
    assert asked is not None
    items = chosen_inputs(inter.items, asked.item_inputs, "item_inputs")
    kinds = set(items.values()) | ({"text"} if model.reviews is not None else set())
    encoders = {"image": recipe.model.image, "audio": recipe.model.audio, "text": recipe.model.text or TEXT_ENCODER}
    parts = {} if asked.backbone == SMALL else {"GPT": asked.backbone}
    parts |= {f"{kind} encoder": str(name) for kind, name in encoders.items() if kind in kinds}
    reader = f"A GPT of {asked.layers} layers, {asked.width} wide, made from nothing,"
    if asked.backbone != SMALL:
        reader = f"{asked.backbone}, tuned by {recipe.model.adapt.method},"
    told = [name for name, there in _interactions(model).items() if there]
    known = [f"- of an item, {name}: {kind}" for name, kind in items.items()]
    known += ["- of an item: its entity of the knowledge graph"] if model.config.entities else []
    users = chosen_inputs(inter.users, asked.user_inputs, "user_inputs")
    # of users, what encoders would read is not read
    known += [f"- of a user, {name}: {kind}" for name, kind in users.items() if kind not in ENCODED]
    return page(
        f"The next {recipe.data.interactions.item if recipe.data.interactions else 'item'}, from {shop.report.name}",
        f"{reader} reads what a user met and ranks {len(inter.items):,} items; made by Sensorium.",
        "recommendation",
        parts,
        [*known, f"- of an interaction: the item{''.join(f', {name}' for name in told)}"],
        f"{shop.sizes['train']:,} training interactions, {shop.sizes['validation']:,} validation and "
        f"{shop.sizes['test']:,} test cases ({shop.splits.method}); {len(shop.report.set_aside):,} rows were set aside.",
        summary(metrics),
        _beside(model),
        [*LOADED, 'model.recommend(user="42", top=10)', 'model.recommend(history=["a title", "another"], top=10)'],
    )


def _interactions(model: Recommender) -> dict[str, bool]:
    there = {"time": model.gaps, "rating": model.ratings, "review": model.reviews}
    return {name: part is not None for name, part in there.items()}


def _beside(model: Recommender) -> list[str]:
    return ["What follows what, in closed form, stands beside the GPT."] if model.config.transitions else []
