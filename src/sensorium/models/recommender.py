"""The model that ranks: a GPT reads the vectors of a user's items, and its last state times an item's vector is a score.

The scheme is SASRec's (Kang & McAuley 2018), with items made of what they are, times, ratings and attributes. A first
position holds the user's attributes, so that an empty history has an answer too. Positions are counted from the oldest
interaction read: what a prefix of a history predicts in training is what the model answers for that history later.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from sensorium.data.interactions import Histories
from sensorium.errors import RunError, first_line
from sensorium.models.item_tower import SIZE, Content, ItemTower
from sensorium.models.transitions import decayed

GAPS = 32  # buckets: 0, then powers of two of seconds
RATINGS = 16  # buckets between the lowest and the highest rating; one more says that there is none
TOGETHER = 256  # users whose histories are read at once in use


class RecommenderConfig(PreTrainedConfig):
    """Sizes of a ``Recommender``; ``shapes`` are those of ``ItemTower``."""

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
        **rest: Any,
    ) -> None:
        self.items, self.users, self.width, self.layers, self.heads = items, users, width, layers, heads
        self.history, self.dropout, self.shapes = history, dropout, shapes or {}
        self.user_numbers, self.user_categories = user_numbers, user_categories or []
        self.identity, self.identity_dropout = identity, identity_dropout
        self.gaps, self.ratings, self.rating_range = gaps, ratings, rating_range or [1.0, 5.0]
        self.entities, self.relations, self.fusion = entities, relations, fusion
        self.transitions, self.decay, self.transition_weight = transitions, decay, transition_weight
        super().__init__(**rest)


class Read(NamedTuple):
    """What a training step's forward pass gives.

    Attributes:
        users: (n, width) at supervised positions; items: (candidates, width).
        triples: heads, relations, tails, wrong tails (k, width) each; empty without a knowledge graph.
    """

    users: Tensor
    items: Tensor
    triples: tuple[Tensor, ...]


@dataclass
class Sequences:
    """Histories as tensors: items (users, steps), -1 where padded; gaps, ratings (users, steps); users (users,)."""

    items: Tensor
    gaps: Tensor
    ratings: Tensor
    users: Tensor

    @classmethod
    def of(cls, histories: Histories, device: torch.device | str = "cpu") -> Sequences:
        """Tensors of ``histories``, at least one step wide: where nobody has a history, it is padding."""
        least = ((0, 0), (max(1 - histories.items.shape[1], 0), 0))
        items = np.pad(histories.items, least, constant_values=-1)
        arrays = (items, np.pad(histories.gaps, least), np.pad(histories.ratings, least), histories.users)
        return cls(*(torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays))


class Recommender(PreTrainedModel):
    """See the module. Implements ``ranking_protocols.Ranker``; saved and loaded as every ``PreTrainedModel``."""

    config_class = RecommenderConfig
    user_numbers: Tensor
    user_categories: Tensor
    transitions: Tensor

    def __init__(self, config: RecommenderConfig) -> None:
        super().__init__(config)
        width = config.width
        shapes = {name: (tuple(shape), size) for name, (shape, size) in config.shapes.items()}
        self.tower = ItemTower(
            config.items,
            width,
            shapes,
            identity=config.identity,
            dropout=config.identity_dropout,
            entities=config.entities,
            fusion=config.fusion,
        )
        self.relations = nn.Embedding(config.relations, width) if config.relations else None
        self.gaps = nn.Embedding(GAPS, width) if config.gaps else None
        self.ratings = nn.Embedding(RATINGS + 1, width) if config.ratings else None
        self.register_buffer("user_numbers", torch.zeros(config.users, config.user_numbers))
        self.register_buffer(
            "user_categories", torch.zeros(config.users, len(config.user_categories), dtype=torch.int64)
        )
        self.user_dense = nn.Linear(config.user_numbers, width) if config.user_numbers else None
        self.user_tables = nn.ModuleList(nn.Embedding(size, width) for size in config.user_categories)
        self.visitor = nn.Parameter(torch.randn(width) * SIZE)
        beside = config.items if config.transitions else 0
        self.register_buffer("transitions", torch.zeros(beside, beside))
        self.norm = nn.LayerNorm(width)
        self.backbone = GPT2Model(
            GPT2Config(
                vocab_size=1,
                n_positions=config.history + 1,
                n_embd=width,
                n_layer=config.layers,
                n_head=config.heads,
                embd_pdrop=config.dropout,
                resid_pdrop=config.dropout,
                attn_pdrop=0.0,  # with it, attention on CPU falls back to its slow form
                bos_token_id=None,
                eos_token_id=None,
                use_cache=False,
            )
        )
        for table in (self.gaps, self.ratings, self.relations, *self.user_tables):
            if table is not None:
                nn.init.normal_(table.weight, std=SIZE)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: every module has its first weights already."""

    def fill(
        self, contents: dict[str, Content], known: Tensor, of_item: Tensor | None, numbers: Tensor, categories: Tensor
    ) -> None:
        """Take over what is fixed: the items' inputs, which items training holds, entities, users' attributes."""
        for name, content in contents.items():
            self.tower.parts[name].fill(content)  # type: ignore[operator]
        self.tower.known.copy_(known)
        if of_item is not None:
            self.tower.of_item.copy_(of_item)
        self.user_numbers.copy_(numbers)
        self.user_categories.copy_(categories)

    # -- on disk -----------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: Any, **more: Any) -> None:  # type: ignore[override]
        """As every ``PreTrainedModel``, without a bar of its own."""
        with without_bars():
            super().save_pretrained(save_directory, **more)

    @classmethod
    def open(cls, folder: str | Path) -> Recommender:
        """A saved model, in evaluation mode. RunError where it cannot be read."""
        try:
            with without_bars():
                return cls.from_pretrained(folder).eval()
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            mend = "fit again with --fresh"
            raise RunError(f"the model cannot be read ({first_line(error)})", where=str(folder), mend=mend) from None

    # -- training ----------------------------------------------------------------------------------

    def forward(
        self, sequences: Sequences, supervised: Tensor, candidates: Tensor, triples: Tensor | None = None
    ) -> Read:
        """One pass over sequences.

        Args:
            supervised: (users, steps + 1) bool: positions that predict; position 0 is the user.
            candidates: (candidates,) items whose vectors are needed.
            triples: (k, 4): head, relation, tail, wrong tail.
        """
        states = self.states(sequences)
        items = self.tower(candidates)
        told: tuple[Tensor, ...] = ()
        if triples is not None and self.relations is not None and self.tower.entities is not None:
            entity = self.tower.entities
            told = (entity(triples[:, 0]), self.relations(triples[:, 1]), entity(triples[:, 2]), entity(triples[:, 3]))
        return Read(states[supervised], items, told)

    def states(self, sequences: Sequences, without: frozenset[str] = frozenset()) -> Tensor:
        """(users, steps + 1, width): what the GPT says after the user's attributes and after each interaction."""
        present = sequences.items >= 0
        items, place = sequences.items.clamp(min=0).unique(return_inverse=True)
        scale = self.config.width**0.5  # tables start small; the GPT reads states of about size one
        read = self.tower(items, without)[place]
        if self.gaps is not None and "gaps" not in without:
            read = read + self.gaps(_gap_bucket(sequences.gaps))
        if self.ratings is not None and "ratings" not in without:
            read = read + self.ratings(_rating_bucket(sequences.ratings, *self.config.rating_range))
        hidden = self.norm(torch.cat([self._user(sequences.users, without)[:, None], read], 1) * scale)
        first = torch.ones_like(present[:, :1])
        mask = torch.cat([first, present], 1)
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)
        return self.backbone(inputs_embeds=hidden, attention_mask=mask.long(), position_ids=positions).last_hidden_state

    def _user(self, users: Tensor, without: frozenset[str]) -> Tensor:
        """(users,) -> (users, width): the learned visitor, plus the attributes of those whom we know."""
        told = torch.zeros(len(users), self.config.width, device=users.device)
        row = users.clamp(min=0)
        if self.user_dense is not None:
            told = told + self.user_dense(self.user_numbers[row]) * SIZE
        for i, table in enumerate(self.user_tables):
            told = told + table(self.user_categories[row, i])
        known = (users >= 0)[:, None] & ("users" not in without)
        return torch.where(known, told, torch.zeros_like(told)) + self.visitor

    # -- in use ------------------------------------------------------------------------------------

    @torch.inference_mode()
    def item_vectors(self, without: frozenset[str] = frozenset()) -> Tensor:
        """(items, width) fp32, of all items of the catalogue; with transitions (items, width + items)."""
        own = self.tower(None, without).float()
        return own if self._alone(without) else torch.cat([own, self.transitions.T], 1)

    def item_bias(self) -> Tensor:
        """(items,) zeros: an item that nobody touched is not held back by anything but its content."""
        return torch.zeros(self.config.items, device=self.device)

    @torch.inference_mode()
    def user_vectors(self, histories: Histories, without: frozenset[str] = frozenset()) -> Tensor:
        """(users, as wide as items' vectors) fp32; the GPT reads the latest ``config.history`` interactions of each."""
        found = []
        for start in range(0, len(histories), TOGETHER):
            rows = slice(start, start + TOGETHER)
            kept = slice(max(histories.items.shape[1] - self.config.history, 0), None)
            part = Histories(
                histories.items[rows, kept],
                histories.gaps[rows, kept],
                histories.ratings[rows, kept],
                histories.users[rows],
            )
            vectors = self.states(Sequences.of(part, self.device), without)[:, -1].float()
            if not self._alone(without):
                met = torch.from_numpy(decayed(histories.items[rows], self.config.items, self.config.decay))
                vectors = torch.cat([vectors, self.config.transition_weight * met.to(self.device)], 1)
            found.append(vectors)
        empty = torch.zeros(0, self.item_vectors(without).shape[1], device=self.device)
        return torch.cat(found) if found else empty

    def take_transitions(self, matrix: np.ndarray, decay: float, weight: float) -> None:
        """Let what follows what (items, items) join the scores with ``weight``: see ``models.transitions``."""
        self.transitions = torch.from_numpy(matrix).to(self.device)
        self.config.transitions, self.config.decay, self.config.transition_weight = True, decay, weight

    def _alone(self, without: frozenset[str]) -> bool:
        """Whether the GPT scores without transitions."""
        return not self.config.transitions or "transitions" in without


@contextmanager
def without_bars() -> Iterator[None]:
    """transformers' own progress bars are off meanwhile: such small models need none."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _gap_bucket(gaps: Tensor) -> Tensor:
    """Seconds -> 0 for none, then the power of two."""
    return gaps.clamp(min=0).add(1).log2().ceil().long().clamp(0, GAPS - 1)


def _rating_bucket(ratings: Tensor, low: float, high: float) -> Tensor:
    """Ratings -> 0 where there is none, else 1 … RATINGS by equal steps."""
    share = ((ratings - low) / max(high - low, 1e-9)).clamp(0, 1)
    return torch.where(ratings.isnan(), 0, 1 + (share.nan_to_num() * (RATINGS - 1)).round().long())
