"""A table's rows as batches: rows that share a picture together, cached features and trunk where there are any."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.data.collate import Batch, Sequence, collate
from sensorium.data.rows import Example, Rows
from sensorium.models.processor import Processor
from sensorium.run import sha256_text

MOST_SHARING = 8  # rows in one sequence: a longer one wastes attention on branches that do not see each other
TOKENS_A_BATCH = 8192
TRUNK_BYTES = 512 * 1024**2

FeatureOf = Callable[[int], Tensor | None]


@dataclass
class Feed:
    """Batches of rows for a task; rows are the table's own numbers.

    Args:
        rows: all rows of the table.
        processor: turns rows into sequences.
        batch_size: sequences in a batch at the most.
        sharing: a key for each row; rows with equal keys may share a sequence. None: no row shares.
        cached: input: features of a row, or of the bytes of a chat's part, for inputs whose encoders are frozen.
        trunk: sequences -> hidden states below everything that trains, or None where there is no trunk.
    """

    rows: Rows
    processor: Processor
    batch_size: int
    sharing: Callable[[int], str] | None = None
    cached: Mapping[str, Callable[[Any], Tensor | None]] = field(default_factory=dict)
    trunk: Trunk | None = None

    def example(self, row: int) -> Example:
        return self.rows[row]

    def groups(self, rows: list[int]) -> list[list[int]]:
        """Rows that may share one sequence, at most eight together, in the order of their first rows."""
        if self.sharing is None:
            return [[row] for row in rows]
        found: OrderedDict[str, list[int]] = OrderedDict()
        for row in rows:
            found.setdefault(self.sharing(row), []).append(row)
        return [group[i : i + MOST_SHARING] for group in found.values() for i in range(0, len(group), MOST_SHARING)]

    def sequence(self, group: list[int], **options: Any) -> Sequence:
        """One group of rows as a sequence; options as of ``Processor.sequence``."""
        return self.processor.sequence([self.rows[row] for row in group], cached=self.cached, **options)

    def collate(self, sequences: list[Sequence], trunk: bool = True) -> Batch:
        """Pad, and add the trunk's hidden states."""
        if trunk and self.trunk is not None:
            self.trunk.fill(sequences)
        return collate(sequences, pad_id=self.processor.tokenizer.eos_token_id or 0)

    def batches(self, groups: list[list[int]], *, trunk: bool = True, **options: Any) -> Iterator[Batch]:
        """Batches over all groups, in order, bounded in sequences and in padded tokens."""
        waiting: list[Sequence] = []
        for group in groups:
            sequence = self.sequence(group, **options)
            longest = max([len(sequence.ids), *(len(s.ids) for s in waiting)])
            if waiting and (len(waiting) == self.batch_size or longest * (len(waiting) + 1) > TOKENS_A_BATCH):
                yield self.collate(waiting, trunk)
                waiting = []
            waiting.append(sequence)
        if waiting:
            yield self.collate(waiting, trunk)


@dataclass
class Units:
    """Training units for the loader: ``units[(epoch, unit)]`` is one sequence."""

    feed: Feed
    groups: list[list[int]]
    seed: int
    augment: bool

    def __getitem__(self, key: tuple[int, int]) -> Sequence:
        epoch, unit = key
        options = {"epoch": epoch, "seed": self.seed} if self.augment else {}
        return self.feed.sequence(self.groups[unit], **options)


class Trunk:
    """Hidden states below everything that trains, by the tokens that they come from.

    Args:
        compute: a batch -> hidden states (batch, tokens, width), not to be differentiated.
        store: key: hidden states on disk, for sequences known beforehand; others are kept in memory, newest first.
    """

    def __init__(self, compute: Callable[[Batch], Tensor], store: Mapping[str, Tensor] | None = None) -> None:
        self.compute, self.store = compute, store or {}
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0

    def fill(self, sequences: list[Sequence]) -> None:
        """Give each sequence its trunk; what is not known is computed, alike ones once."""
        keys = [trunk_key(sequence) for sequence in sequences]
        unknown = {
            key: s for key, s in zip(keys, sequences, strict=True) if key not in self.store and key not in self._kept
        }
        if unknown:
            hidden = self.compute(collate([bare(sequence) for sequence in unknown.values()]))
            for (key, sequence), states in zip(unknown.items(), hidden, strict=True):
                self._keep(key, states[: len(sequence.ids)].clone())
        for key, sequence in zip(keys, sequences, strict=True):
            sequence.trunk = self.store[key] if key in self.store else self._kept[key]
        while self._bytes > TRUNK_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def _keep(self, key: str, hidden: Tensor) -> None:
        self._kept[key] = hidden
        self._bytes += hidden.nbytes


def bare(sequence: Sequence) -> Sequence:
    """The sequence with its placeholders but without media values: all that the trunk sees."""
    media = [type(item)(item.column, None, item.positions, item.slots, item.branch) for item in sequence.media]
    return Sequence(
        sequence.ids,
        sequence.positions,
        sequence.branches,
        sequence.parents,
        media,
        sequence.rows,
        memory=sequence.memory,
    )


def trunk_key(sequence: Sequence) -> str:
    """A hash of all that the trunk depends on: tokens, their places and branches, and which are placeholders."""
    slots = [item.slots for item in sequence.media]
    return sha256_text(repr((sequence.ids, sequence.positions, sequence.branches, sequence.parents, slots)))


def estimated_lengths(groups: list[list[int]], characters: np.ndarray, media_tokens: int) -> np.ndarray:
    """Tokens of each group, roughly: a token is about four characters; exact enough to bucket by."""
    sums = np.array([int(characters[group].sum()) for group in groups], dtype=np.int64)
    return media_tokens + 16 + sums // 4


def hidden_dtype(module: torch.nn.Module) -> torch.dtype:
    """The type that a module computes in."""
    return next(p.dtype for p in module.parameters() if p.is_floating_point())
