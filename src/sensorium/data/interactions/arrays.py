"""Who did what with which item, and when: interactions with the tables of items and users that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass
class Entities:
    """Items or users, each with its row of attributes.

    Attributes:
        names: the data's own id of each, as text; the place in this list is its index everywhere else.
        inputs: column: type (text, image, audio, number, category, time, place).
        cells: column: one cell an entity, None where it is missing or the entity has no row.
        has_row: (entities,) bool.
        root: the folder that paths in cells of pictures and sounds may point into (``read_media``'s second argument).
    """

    names: list[str]
    inputs: dict[str, str] = field(default_factory=dict)
    cells: dict[str, Sequence[Any]] = field(default_factory=dict)
    has_row: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.names)

    def index(self) -> dict[str, int]:
        """Name: index."""
        return {name: i for i, name in enumerate(self.names)}


@dataclass
class KnowledgeGraph:
    """Triples (head, relation, tail) of entities, some of which are items.

    Attributes:
        entities, relations: names by index.
        triples: (triples, 3) int64: head entity, relation, tail entity.
        of_item: (items,) int64: the entity that an item is, -1 where it is none.
    """

    entities: list[str]
    relations: list[str]
    triples: np.ndarray
    of_item: np.ndarray


@dataclass
class Interactions:
    """All interactions in the order of the file, users' and items' indices in place of their names.

    Attributes:
        user, item: (interactions,) int64.
        time: (interactions,) float64, seconds since 1970; equal times keep the file's order.
        rating: (interactions,) float32, NaN where there is none.
        reviews: a text an interaction (None where missing), or None where the data hold none.
    """

    users: Entities
    items: Entities
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    rating: np.ndarray
    reviews: Sequence[str | None] | None = None
    knowledge: KnowledgeGraph | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def said(self) -> tuple[list[str], np.ndarray]:
        """The different reviews, and which of them each interaction has: (interactions,) int64, -1 for none."""
        if self.reviews is None:
            return [], np.full(len(self), -1, dtype=np.int64)
        cells = pa.array(self.reviews, pa.string()).dictionary_encode()
        return cells.dictionary.to_pylist(), pc.fill_null(cells.indices, -1).to_numpy().astype(np.int64)


@dataclass
class Histories:
    """What is known of some users at the moment of recommending, oldest first, padded on the left.

    Attributes:
        items: (users, steps) int64, -1 where padded.
        gaps: (users, steps) float32, seconds since the step before; 0 at the first.
        ratings: (users, steps) float32, NaN where there is none.
        users: (users,) int64 index of each user, -1 for a visitor who is none of ours.
        reviews: (users, steps) int64, which of ``Interactions.said`` each step has, -1 for none; None where data hold none.
    """

    items: np.ndarray
    gaps: np.ndarray
    ratings: np.ndarray
    users: np.ndarray
    reviews: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: Any, latest: int | None = None) -> Histories:
        """Those of some users, by a slice or indices; of each, its ``latest`` steps at the most."""
        steps = slice(0 if latest is None else max(self.items.shape[1] - latest, 0), None)
        reviews = None if self.reviews is None else self.reviews[rows, steps]
        return Histories(
            self.items[rows, steps], self.gaps[rows, steps], self.ratings[rows, steps], self.users[rows], reviews
        )


@dataclass
class InteractionSplits:
    """Which interactions train and which are asked for.

    Attributes:
        train: indices of interactions that training may see, sorted by (user, time, file order).
        validation, test: one index of an interaction a case: its item is to be found from the user's earlier ones.
            A case's history is what ``history_of`` says: for validation the user's training interactions before it, for
            test also the validation ones.
        cold: (items,) bool: items that no training interaction holds, by design of the split.
        method: in words, for the report.
        rolling: a case's history also holds the user's earlier cases (by_time), as it would in use.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    cold: np.ndarray
    method: str
    rolling: bool = False
