"""A ranker with random vectors, whose scores a test can work out by hand, and a small shop for it to rank."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sensorium.data.interactions import Entities, Histories, Interactions


@dataclass
class SmallRanker:
    """A user is the mean of the history's item vectors plus the attributes' vector; identity and title can be withheld.

    Attributes:
        identity, title: (items, width); attributes: (users, width); bias: (items,).
    """

    identity: Tensor
    title: Tensor
    attributes: Tensor
    bias: Tensor
    asked: list[int] = field(default_factory=list)

    @classmethod
    def random(cls, items: int, users: int, width: int = 8, seed: int = 0) -> SmallRanker:
        draw = torch.Generator().manual_seed(seed)
        made = [torch.randn(n, width, generator=draw) for n in (items, items, users)]
        return cls(*made, bias=torch.randn(items, generator=draw) * 0.1)

    def item_vectors(self, without: frozenset[str] = frozenset()) -> Tensor:
        parts = {"identity": self.identity, "title": self.title}
        return sum((part for name, part in parts.items() if name not in without), torch.zeros_like(self.identity))

    def item_bias(self) -> Tensor:
        return self.bias

    def user_vectors(self, histories: Histories, without: frozenset[str] = frozenset()) -> Tensor:
        self.asked.append(len(histories))
        vectors, items = self.item_vectors(without), torch.as_tensor(histories.items)
        there = (items >= 0).float()[:, :, None]
        mean = (vectors[items.clamp(min=0)] * there).sum(1) / there.sum(1).clamp(min=1)
        users = torch.as_tensor(histories.users)
        known = (users >= 0).float()[:, None] * (0.0 if "users" in without else 1.0)
        return mean + self.attributes[users.clamp(min=0)] * known


GENRES = ["Drama", "Comedy", "Horror", "Children's Comedy"]


def small_shop(items: int = 12, users: int = 6, each: int = 4, seed: int = 0) -> Interactions:
    """``users`` with ``each`` interactions; film-like items of four genres, users with gender and age; user 5 has none."""
    draw = np.random.default_rng(seed)
    active = users - 1
    item = np.concatenate([draw.choice(items - 1, each, replace=False) for _ in range(active)])  # the last item is cold
    user = np.repeat(np.arange(active), each)
    shuffled = draw.permutation(len(user))
    return Interactions(
        users=Entities(
            [f"u{i}" for i in range(users)], {"gender": "category", "age": "number"},
            {"gender": ["FM"[i % 2] for i in range(users)], "age": [10.0 + 5 * i for i in range(users)]},
            np.ones(users, dtype=bool),
        ),
        items=Entities(
            [str(100 + i) for i in range(items)], {"title": "text", "genres": "text", "year": "number"},
            {
                "title": [f"Film {'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[i]}" for i in range(items)],
                "genres": [GENRES[i % 4] for i in range(items)],
                "year": [1980.0 + i for i in range(items)],
            },
            np.ones(items, dtype=bool),
        ),
        user=user[shuffled], item=item[shuffled], time=1e9 + draw.permutation(len(user)) * 3600.0,
        rating=draw.integers(1, 6, len(user)).astype(np.float32),
    )  # fmt: skip
