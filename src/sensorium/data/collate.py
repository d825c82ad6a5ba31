"""From single sequences to a batch. The only place that pads.

A ``Sequence`` is one unpadded forest of token branches (see ``models.backbone.visibility``) with its media; a
``Batch`` is several, as tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor


@dataclass
class MediaItem:
    """One cell of one modality, ready for its encoder.

    Attributes:
        column: the input that it belongs to.
        value: what the encoder reads, or features (positions, width) where ``cached``; None where missing.
        positions: how many positions its features take (1 where missing).
        slots: index of each position: of its placeholder token, or in the memory of cross-attention; else empty.
        branch: the branch of the sequence that it stands in.
    """

    column: str
    value: Tensor | None
    positions: int
    slots: list[int] = field(default_factory=list)
    branch: int = 0
    cached: bool = False


@dataclass
class Sequence:
    """One unpadded sequence.

    Attributes:
        ids, positions, branches: one entry a token.
        parents: parent of each branch, -1 for a root.
        sources, answers, owners: one entry a supervised token: the place whose hidden state predicts it, the token,
            and which of the sequence's answers it belongs to. Two answers may begin at one place.
        answers_count: how many answers (rows, or options) there are.
        memory: branch of each position in the memory of cross-attention.
        rows: the table's rows in it; targets: one a row for heads that classify, else empty.
        trunk: hidden states (tokens, width) below everything that trains, where cached.
    """

    ids: list[int]
    positions: list[int]
    branches: list[int]
    parents: list[int]
    media: list[MediaItem]
    rows: list[int]
    sources: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    answers_count: int = 0
    targets: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    trunk: Tensor | None = None

    @property
    def supervised(self) -> int:
        """Tokens, or targets, that the loss sums over."""
        return len(self.targets) or len(self.answers)


@dataclass
class Media:
    """All items of one input in a batch.

    Shapes: ``values`` of the present items, stacked and padded; ``lengths`` (present,), their own last extent;
    ``mask`` (items, positions); ``present``, ``row``, ``branch`` (items,); ``slots`` (items, positions).
    ``cached``: values are features (items, positions, width), zeros where missing.
    """

    values: Tensor | None
    lengths: Tensor
    counts: Tensor
    mask: Tensor
    present: Tensor
    row: Tensor
    slots: Tensor
    cached: bool


@dataclass
class Batch:
    """Tensors of several sequences.

    Shapes: ``input_ids``, ``position_ids``, ``branches`` (batch, tokens); ``ancestors`` (batch, branches, branches);
    ``memory`` (batch, positions); ``sources`` (index into batch · tokens), ``answers``, ``owners`` (supervised,);
    ``targets`` (targets,); ``trunk`` (batch, tokens, width).
    """

    input_ids: Tensor
    position_ids: Tensor
    branches: Tensor
    sources: Tensor
    answers: Tensor
    owners: Tensor
    answers_count: int
    ancestors: Tensor
    media: dict[str, Media]
    memory: Tensor
    targets: Tensor
    rows: list[int]
    supervised: int
    trunk: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The batch with every tensor on ``device``."""
        return _moved(self, device)


def _moved(part: Any, device: torch.device | str) -> Any:
    changes: dict[str, Any] = {}
    for item in fields(part):
        value = getattr(part, item.name)
        if isinstance(value, Tensor):
            changes[item.name] = value.to(device, non_blocking=True)
        elif isinstance(value, dict):
            changes[item.name] = {key: _moved(inner, device) for key, inner in value.items()}
    return replace(part, **changes)


def collate(sequences: list[Sequence], pad_id: int = 0) -> Batch:
    """Pad sequences to one batch, on the right; media are gathered by input, in sorted order of their names.

    Sequences without any tokens are padded to one, since no GPT runs on none.
    """
    columns = sorted({item.column for sequence in sequences for item in sequence.media})
    trunks = [sequence.trunk for sequence in sequences]
    tokens = max(1, *(len(sequence.ids) for sequence in sequences)) if sequences else 0
    first = [0, *accumulate(sequence.answers_count for sequence in sequences)]
    return Batch(
        input_ids=_padded([s.ids for s in sequences], pad_id, tokens),
        position_ids=_padded([s.positions for s in sequences], 0, tokens),
        branches=_padded([s.branches for s in sequences], -1, tokens),
        sources=torch.tensor(
            [i * tokens + place for i, s in enumerate(sequences) for place in s.sources], dtype=torch.long
        ),
        answers=torch.tensor([token for s in sequences for token in s.answers], dtype=torch.long),
        owners=torch.tensor([first[i] + o for i, s in enumerate(sequences) for o in s.owners], dtype=torch.long),
        answers_count=first[-1],
        ancestors=_ancestors([s.parents for s in sequences]),
        media={column: _gather(sequences, column) for column in columns},
        memory=_padded([s.memory for s in sequences], -1),
        targets=torch.tensor([t for s in sequences for t in s.targets], dtype=torch.float32),
        rows=[row for s in sequences for row in s.rows],
        supervised=sum(s.supervised for s in sequences),
        trunk=None if any(t is None for t in trunks) else stacked([t for t in trunks if t is not None]),
    )


def stacked(values: list[Tensor]) -> Tensor:
    """Tensors of one rank -> one tensor, each extent padded with zeros to the greatest."""
    extent = [max(sizes) for sizes in zip(*(value.shape for value in values), strict=True)]
    out = values[0].new_zeros(len(values), *extent)
    for place, value in zip(out, values, strict=True):
        place[tuple(slice(size) for size in value.shape)] = value
    return out


def _padded(lists: list[list[int]], filler: int, least: int = 0) -> Tensor:
    longest = max(least, *map(len, lists)) if lists else least
    return torch.tensor([values + [filler] * (longest - len(values)) for values in lists], dtype=torch.long)


def _ancestors(parents: list[list[int]]) -> Tensor:
    """(batch, branches, branches) bool: [b, i, j] is true where j is i or above i. Parents come before children."""
    count = max((len(p) for p in parents), default=1) or 1
    table = torch.zeros(len(parents), count, count, dtype=torch.bool)
    for rows, forest in zip(table, parents, strict=True):
        for branch, parent in enumerate(forest):
            if parent >= 0:
                rows[branch] = rows[parent]
            rows[branch, branch] = True
    return table


def _gather(sequences: list[Sequence], column: str) -> Media:
    items = [(row, item) for row, sequence in enumerate(sequences) for item in sequence.media if item.column == column]
    counts = [item.positions for _, item in items]
    present = [item.value for _, item in items if item.value is not None]
    cached = any(item.cached for _, item in items)
    most = max(counts)
    if cached:
        width = next((v.shape[1] for v in present), 0)
        values: Tensor | None = stacked(
            [item.value if item.value is not None else torch.zeros(1, width) for _, item in items]
        )
        if values is not None and values.shape[1] < most:  # every item is shorter than a placeholder run
            values = torch.nn.functional.pad(values, (0, 0, 0, most - values.shape[1]))
    else:
        values = stacked(present) if present else None
    return Media(
        values=values if present else None,
        lengths=torch.tensor([value.shape[-1] for value in present], dtype=torch.long),
        counts=torch.tensor(counts),
        mask=torch.arange(most) < torch.tensor(counts)[:, None],
        present=torch.tensor([item.value is not None for _, item in items]),
        row=torch.tensor([row for row, _ in items]),
        slots=_padded([item.slots + [-1] * (most - len(item.slots)) for _, item in items], -1),
        cached=cached,
    )
