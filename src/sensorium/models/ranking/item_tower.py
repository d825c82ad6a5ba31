"""An item's vector: the fusion of its identity, what it is made of, and its entity of a knowledge graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sensorium.models.fusion import LATE
from sensorium.models.named import Named
from sensorium.recipe import FusionRecipe

SIZE = 0.02  # standard deviation of a fresh item vector: products with user vectors of length √width start near zero
IDENTITY, KNOWLEDGE = "identity", "knowledge"
BY_GPT = " by the GPT"  # ends the name of a text column that the pretrained GPT reads, beside the text encoder


@dataclass
class Content:
    """One input of all items, fixed: features of an encoder, or ids of a category.

    Attributes:
        values: (items, width) fp32 standardised features, or (items,) int64 ids (0 missing, 1 unseen).
        present: (items,) bool.
        size: how many ids there are; None for features.
    """

    values: Tensor
    present: Tensor
    size: int | None = None


class Part(nn.Module):
    """A fixed input of the items, projected; a missing one is a learned vector."""

    values: Tensor
    present: Tensor

    def __init__(self, shape: tuple[int, ...], size: int | None, width: int) -> None:
        super().__init__()
        kind = torch.float32 if size is None else torch.int64
        self.register_buffer("values", torch.zeros(shape, dtype=kind))
        self.register_buffer("present", torch.zeros(shape[0], dtype=torch.bool))
        self.project: nn.Module = nn.Linear(shape[1], width) if size is None else nn.Embedding(size, width)
        # Adam moves each weight by the learning rate: features are made small, or one step over hundreds of them would
        # move a projected vector hundreds of times as far as an identity.
        self.scale = 1.0 if size is not None else shape[1] ** -0.75
        spread = SIZE if size is not None else SIZE * shape[1] ** 0.25
        nn.init.normal_(self.project.weight, std=spread)  # type: ignore[arg-type]
        if isinstance(self.project, nn.Linear):
            nn.init.zeros_(self.project.bias)
        self.missing = nn.Parameter(torch.randn(width) * SIZE)

    def fill(self, content: Content) -> None:
        self.values.copy_(content.values)
        self.present.copy_(content.present)

    def forward(self, items: Tensor, withheld: bool) -> tuple[Tensor, Tensor]:
        """(n,) items -> vectors (n, width), present (n,)."""
        present = self.present[items] & (not withheld)
        values = self.values[items]
        told = self.project(values if values.dim() == 1 else values * self.scale)
        return torch.where(present[:, None], told, self.missing), present


class ItemTower(nn.Module):
    """Vectors of the items of a catalogue.

    Args:
        items: how many; width: of their vectors.
        shapes: input: (shape of its values, ids or None).
        identity: whether an item has a vector of its own; ``dropout`` is the chance that training withholds it.
        entities: how many a knowledge graph has, 0 for none.
        fusion: how parts join: ``tokens`` (and ``cross_attention``) add them up, the late fusions of ``models.fusion``
            as they are.

    Buffers: ``known`` (items,), whether training holds the item; one that it does not hold has no identity to go by.
    """

    known: Tensor
    of_item: Tensor

    def __init__(
        self,
        items: int,
        width: int,
        shapes: dict[str, tuple[tuple[int, ...], int | None]],
        *,
        identity: bool = True,
        dropout: float = 0.0,
        entities: int = 0,
        fusion: str = "tokens",
    ) -> None:
        super().__init__()
        self.items, self.dropout = items, dropout
        self.register_buffer("known", torch.ones(items, dtype=torch.bool))
        self.register_buffer("of_item", torch.full((items,), -1, dtype=torch.int64))
        self.identity = nn.Embedding(items, width) if identity else None
        if self.identity is not None:
            nn.init.normal_(self.identity.weight, std=SIZE)
            self.nobody = nn.Parameter(torch.zeros(width))
        self.parts = Named({name: Part(shape, size, width) for name, (shape, size) in sorted(shapes.items())})
        self.entities = nn.Embedding(entities, width) if entities else None
        if self.entities is not None:
            nn.init.normal_(self.entities.weight, std=SIZE)
            self.no_entity = nn.Parameter(torch.zeros(width))
        modalities = len(shapes) + (self.identity is not None) + (self.entities is not None)
        joined = LATE.get(fusion)
        self.fusion = joined(modalities, FusionRecipe(width=width, heads=1)) if joined else None

    def learn_by_rows(self) -> None:
        """A step's gradient is of the rows that it read, and holds nothing for the rest of the catalogue."""
        for table in (self.identity, self.entities):
            if table is not None:
                table.sparse = True

    def forward(self, items: Tensor | None = None, without: frozenset[str] = frozenset()) -> Tensor:
        """Vectors (n, width) of ``items`` (n,), of the whole catalogue by default.

        Args:
            without: ``identity``, ``knowledge`` or names of inputs that are withheld; a text's from both its readers.
        """
        if items is None:
            items = torch.arange(self.items, device=self.known.device)
        found = []
        if self.identity is not None:
            shown = self.known[items] & (IDENTITY not in without)
            if self.training and self.dropout:
                shown = shown & (torch.rand(len(items), device=shown.device) >= self.dropout)
            found.append((torch.where(shown[:, None], self.identity(items), self.nobody), shown))
        for name, part in self.parts.items():  # the two readers of one text are withheld together
            found.append(part(items, name in without or name.removesuffix(BY_GPT) in without))
        if self.entities is not None:
            entity = self.of_item[items]
            shown = (entity >= 0) & (KNOWLEDGE not in without)
            found.append((torch.where(shown[:, None], self.entities(entity.clamp(min=0)), self.no_entity), shown))
        vectors = torch.stack([vector for vector, _ in found], 1)
        if self.fusion is None:
            return vectors.sum(1)
        return self.fusion(vectors, torch.stack([shown for _, shown in found], 1))
