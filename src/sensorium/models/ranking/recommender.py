"""The model that ranks: a GPT reads the vectors of a user's items, and its last state times an item's vector is a score.

The scheme is SASRec's (Kang & McAuley 2018), with items made of what they are, times, ratings and attributes. A first
position holds the user's attributes, so that an empty history has an answer too. Positions are counted from the oldest
interaction read: what a prefix of a history predicts in training is what the model answers for that history later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel

from sensorium.data.interactions.arrays import Histories
from sensorium.errors import RunError, first_line
from sensorium.models.bars import without_bars
from sensorium.models.ranking.config import RecommenderConfig
from sensorium.models.ranking.inputs import GAPS, RATINGS, Sequences, gap_bucket, rating_bucket
from sensorium.models.ranking.item_tower import SIZE, Content, ItemTower, Part
from sensorium.models.ranking.sequence_reader import PretrainedReader, small_gpt
from sensorium.models.ranking.transitions import decayed
from sensorium.models.saving import load_gpt, load_own, save_gpt, save_own

TOGETHER = 256  # users whose histories are read at once in use
ITEMS_TOGETHER = 1 << 16  # items whose vectors are made at once in use


class Read(NamedTuple):
    """What a training step's forward pass gives.

    Attributes:
        users: (n, width) at supervised positions; items: (candidates, width).
        triples: heads, relations, tails, wrong tails (k, width) each; empty without a knowledge graph.
    """

    users: Tensor
    items: Tensor
    triples: tuple[Tensor, ...]


class Recommender(PreTrainedModel):
    """See the module. Implements ``ranking_protocols.Ranker``.

    Args:
        backbone: what reads histories; a small GPT of the config's sizes, made here, by default.
    """

    config_class = RecommenderConfig
    user_numbers: Tensor
    user_categories: Tensor
    transitions: Tensor

    def __init__(self, config: RecommenderConfig, backbone: PretrainedReader | None = None) -> None:
        super().__init__(config)
        if config.gpt is not None and backbone is None:
            raise ValueError("a pretrained GPT is handed in: Recommender.open reads it with the model")
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
        self.reviews = Part((config.reviews[0], config.reviews[1]), None, width) if config.reviews else None
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
        self.backbone: nn.Module = small_gpt(config) if backbone is None else nn.Identity()
        for table in (self.gaps, self.ratings, self.relations, *self.user_tables):
            if table is not None:
                nn.init.normal_(table.weight, std=SIZE)
        self.post_init()
        if backbone is not None:  # not before: post_init draws the first weights of adapters anew
            self.backbone = backbone

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: every module has its first weights already."""

    def fill(
        self,
        contents: dict[str, Content],
        known: Tensor,
        of_item: Tensor | None,
        numbers: Tensor,
        categories: Tensor,
        reviews: Content | None = None,
    ) -> None:
        """Take over what is fixed: the items' inputs, which items training holds, entities, users' attributes, reviews."""
        for name, content in contents.items():
            self.tower.parts[name].fill(content)  # type: ignore[operator]
        self.tower.known.copy_(known)
        if of_item is not None:
            self.tower.of_item.copy_(of_item)
        self.user_numbers.copy_(numbers)
        self.user_categories.copy_(categories)
        if reviews is not None and self.reviews is not None:
            self.reviews.fill(reviews)

    # -- on disk -----------------------------------------------------------------------------------

    def own_state(self) -> dict[str, Tensor]:
        """Tensors that belong to no pretrained part."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("backbone.gpt.")}

    def save_pretrained(self, save_directory: Any, source: Path | None = None, **more: Any) -> None:  # type: ignore[override]
        """As every ``PreTrainedModel``; a pretrained GPT beside it, in ``backbone/`` and ``adapter/``.

        Args:
            source: the folder of the GPT's unchanged weights: they are linked.
        """
        with without_bars():
            if not isinstance(self.backbone, PretrainedReader):
                super().save_pretrained(save_directory, **more)
                return
            folder = Path(save_directory)
            folder.mkdir(parents=True, exist_ok=True)
            self.config.save_pretrained(folder)
            save_own(self, folder)
            save_gpt(self.backbone.gpt, str(self.config.adapt["method"]), folder, source)

    @classmethod
    def open(cls, folder: str | Path) -> Recommender:
        """A saved model, in evaluation mode. RunError where it cannot be read."""
        try:
            with without_bars():
                config = RecommenderConfig.from_pretrained(folder)
                if config.gpt is None:
                    return cls.from_pretrained(folder).eval()
                kind = torch.bfloat16 if config.gpt["precision"] == "bf16" else torch.float32
                gpt = load_gpt(Path(folder), dtype=kind, attention="sdpa")
                model = cls(config, PretrainedReader(gpt, config.width, config.gpt["entry"], config.dropout))
                load_own(model, Path(folder))
                return model.eval()
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
            read = read + self.gaps(gap_bucket(sequences.gaps))
        if self.ratings is not None and "ratings" not in without:
            read = read + self.ratings(rating_bucket(sequences.ratings, *self.config.rating_range))
        if self.reviews is not None:
            read = read + self._said(sequences, "reviews" in without)
        hidden = self.norm(torch.cat([self._user(sequences.users, without)[:, None], read], 1) * scale)
        first = torch.ones_like(present[:, :1])
        mask = torch.cat([first, present], 1)
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)
        if isinstance(self.backbone, PretrainedReader):
            return self.backbone(hidden, mask, positions)
        return self.backbone(inputs_embeds=hidden, attention_mask=mask.long(), position_ids=positions).last_hidden_state

    def _said(self, sequences: Sequences, withheld: bool) -> Tensor:
        """(users, steps, width): the review of each interaction, a learned vector where there is none."""
        assert self.reviews is not None
        if sequences.reviews is None:
            return self.reviews.missing
        told, _ = self.reviews(sequences.reviews.clamp(min=0).flatten(), withheld)
        told = told.view(*sequences.reviews.shape, -1)
        return torch.where((sequences.reviews >= 0)[..., None], told, self.reviews.missing)

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
    def item_vectors(self, without: frozenset[str] = frozenset(), items: Sequence[int] | None = None) -> Tensor:
        """(items, width) fp32, of all items of the catalogue or of some; with transitions (items, width + items)."""
        chosen = torch.arange(self.config.items) if items is None else torch.tensor(items, dtype=torch.int64)
        stretches = chosen.to(self.device).split(ITEMS_TOGETHER)  # an item's parts take several times its vector's room
        own = torch.cat([self.tower(some, without).float() for some in stretches])
        return own if self._alone(without) else torch.cat([own, self.transitions.T[chosen]], 1)

    def item_bias(self) -> Tensor:
        """(items,) zeros: an item that nobody touched is not held back by anything but its content."""
        return torch.zeros(self.config.items, device=self.device)

    @torch.inference_mode()
    def user_vectors(self, histories: Histories, without: frozenset[str] = frozenset()) -> Tensor:
        """(users, as wide as items' vectors) fp32; the GPT reads the latest ``config.history`` interactions of each."""
        found = list(self.user_vectors_by_parts(histories, without))
        width = self.config.width + (0 if self._alone(without) else self.config.items)
        empty = torch.zeros(0, width, device=self.device)
        return torch.cat(found) if found else empty

    @torch.inference_mode()
    def user_vectors_by_parts(self, histories: Histories, without: frozenset[str] = frozenset()) -> Iterator[Tensor]:
        """What ``user_vectors`` holds, ``TOGETHER`` users at a time: with transitions a user is as wide as the catalogue."""
        for start in range(0, len(histories), TOGETHER):
            whole = histories.take(slice(start, start + TOGETHER))
            read = whole.take(slice(None), self.config.history)
            vectors = self.states(Sequences.of(read, self.device), without)[:, -1].float()
            if not self._alone(without):
                met = torch.from_numpy(decayed(whole.items, self.config.items, self.config.decay))
                vectors = torch.cat([vectors, self.config.transition_weight * met.to(self.device)], 1)
            yield vectors

    def take_transitions(self, matrix: np.ndarray, decay: float, weight: float) -> None:
        """Let what follows what (items, items) join the scores with ``weight``: see ``models.transitions``."""
        self.transitions = torch.from_numpy(matrix).to(self.device)
        self.config.transitions, self.config.decay, self.config.transition_weight = True, decay, weight

    def _alone(self, without: frozenset[str]) -> bool:
        """Whether the GPT scores without transitions."""
        return not self.config.transitions or "transitions" in without
