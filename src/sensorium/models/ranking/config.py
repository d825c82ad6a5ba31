"""Sizes of a ``Recommender``, as they stand in its ``config.json``."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class RecommenderConfig(PreTrainedConfig):
    """What ``Recommender`` needs to be built again; ``shapes`` are those of ``ItemTower``.

    Args:
        gpt: of a pretrained GPT in the small one's place: ``entry``, the layer that items enter at, and ``precision``
            (fp32, bf16) of its weights; None for the small one.
        adapt: the recipe's, as plain values; of a pretrained GPT.
        reviews: (different reviews, width of their features); None where interactions have none.
    """

    model_type = "sensorium_recommender"

    def __init__(
        self,
        items: int = 1,
        users: int = 1,
        width: int = 64,
        layers: int = 2,
        heads: int = 2,
        history: int = 200,
        dropout: float = 0.3,
        shapes: dict[str, Any] | None = None,
        user_numbers: int = 0,
        user_categories: list[int] | None = None,
        identity: bool = True,
        identity_dropout: float = 0.1,
        gaps: bool = True,
        ratings: bool = True,
        rating_range: list[float] | None = None,
        entities: int = 0,
        relations: int = 0,
        fusion: str = "tokens",
        transitions: bool = False,
        decay: float = 0.0,
        transition_weight: float = 0.0,
        gpt: dict[str, Any] | None = None,
        adapt: dict[str, Any] | None = None,
        reviews: list[int] | None = None,
        **rest: Any,
    ) -> None:
        self.items, self.users, self.width, self.layers, self.heads = items, users, width, layers, heads
        self.history, self.dropout, self.shapes = history, dropout, shapes or {}
        self.user_numbers, self.user_categories = user_numbers, user_categories or []
        self.identity, self.identity_dropout = identity, identity_dropout
        self.gaps, self.ratings, self.rating_range = gaps, ratings, rating_range or [1.0, 5.0]
        self.entities, self.relations, self.fusion = entities, relations, fusion
        self.transitions, self.decay, self.transition_weight = transitions, decay, transition_weight
        self.gpt, self.adapt, self.reviews = gpt, adapt, reviews
        super().__init__(**rest)
