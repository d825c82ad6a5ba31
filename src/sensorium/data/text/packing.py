"""Documents packed into full windows, none of which sees its neighbours.

Documents that fit a window stay whole, and are laid side by side by best fit (Ding et al. 2024), so windows are nearly full
and nothing is cut without need. Longer ones are cut; what is left of them is packed like a document. Position numbers begin
anew with every piece, and ``branches`` tell the attention which tokens may see each other, so a document's loss is what it is
alone. The plan follows from the texts: a place in training is a number of a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.data.text.stream import Corpus, Shard, derived, inside, mapped
from sensorium.errors import DataError
from sensorium.recipe import SplitRecipe
from sensorium.run import sha256_text

VERSION = 1  # of the plans


@dataclass
class Window:
    """Pieces of documents side by side.

    Shapes: ``ids``, ``positions`` (from 0 in each piece) and ``branches`` (number of the piece) (tokens,); ``documents``
    (pieces,) their numbers in the corpus.
    """

    ids: np.ndarray
    positions: np.ndarray
    branches: np.ndarray
    documents: np.ndarray

    @property
    def sources(self) -> np.ndarray:
        """(supervised,) places whose next token is of the same piece: what a causal model learns from."""
        return np.flatnonzero(self.branches[1:] == self.branches[:-1])


@dataclass
class Windows:
    """``windows[i]``; opened where it is read, so that it may be handed to worker processes.

    Attributes:
        lengths: (windows,) tokens in each, ``size`` at the most.
        firsts: (shards + 1,) number of each shard's first window.
    """

    corpus: Corpus
    folder: Path
    size: int
    firsts: np.ndarray
    lengths: np.ndarray
    _plans: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def __getitem__(self, number: int) -> Window:
        if not 0 <= number < len(self):
            raise IndexError(number)
        shard = int(np.searchsorted(self.firsts, number, side="right")) - 1
        pieces, bounds = self._plan(shard)
        local = number - int(self.firsts[shard])
        mine = pieces[bounds[local] : bounds[local + 1]]
        opened, counts = self.corpus.shard(shard), mine[:, 2]
        begins = opened.starts[mine[:, 0]] + mine[:, 1]
        ids = np.concatenate([opened.tokens[at : at + count] for at, count in zip(begins, counts)]).astype(np.int64)
        ends = np.cumsum(counts)
        positions = np.arange(len(ids)) - np.repeat(ends - counts, counts)
        branches = np.repeat(np.arange(len(mine)), counts)
        return Window(ids, positions, branches, mine[:, 0] + self.corpus.firsts[shard])

    def __iter__(self) -> Iterator[Window]:
        return (self[number] for number in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_plans": {}}

    def _plan(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        if shard not in self._plans:
            place = self.folder / f"{shard:05d}"
            self._plans[shard] = mapped(place / "pieces.npy"), mapped(place / "bounds.npy")
        return self._plans[shard]


def packed(corpus: Corpus, size: int, split: SplitRecipe, part: str | None = None, overlap: int = 1) -> Windows:
    """Windows of a part's documents; their plan is kept beside the corpus.

    Args:
        size: most tokens of a window.
        part: of ``text_stream.PARTS``; None: all documents.
        overlap: tokens that a piece of a cut document shares with the piece before. With 1 a causal model foretells every
            token of a document but its first, exactly once; with 0 every token stands in one piece.

    Raises:
        DataError: the part has no documents.
    """
    if size <= overlap + 1:
        raise ValueError(f"a window of {size} tokens holds nothing with an overlap of {overlap}")
    asked = f"{VERSION} {size} {overlap} {part} " + (f"{split.validation} {split.test} {split.seed}" if part else "")

    def plan(shard: Shard) -> dict[str, np.ndarray]:
        documents = inside(shard, part, split)
        pieces = cut(documents, np.diff(shard.starts)[documents], size, overlap)
        order, bounds = best_fit(pieces[:, 2], size)
        counts = np.add.reduceat(pieces[order, 2], bounds[:-1]) if len(order) else np.zeros(0)
        return {"pieces": pieces[order], "bounds": bounds, "lengths": counts.astype(np.int32)}

    folder = derived(corpus, f"packed-{sha256_text(asked)[:32]}", plan)
    lengths = [np.load(folder / f"{number:05d}" / "lengths.npy", allow_pickle=False) for number in range(corpus.shards)]
    firsts = np.cumsum([0, *map(len, lengths)], dtype=np.int64)
    if not firsts[-1]:
        what = f"no document is left for {part}" if part else "there are no documents"
        raise DataError(what, where="data.split", mend="add documents, or change the shares")
    return Windows(corpus, folder, size, firsts, np.concatenate(lengths))


def cut(documents: np.ndarray, lengths: np.ndarray, size: int, overlap: int) -> np.ndarray:
    """Pieces (pieces, 3): document, first token in it, tokens. ``documents`` and their ``lengths`` are (documents,)."""
    step = size - overlap
    counts = np.maximum(1, -(-(lengths - overlap) // step))
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = number * step
    return np.stack([np.repeat(documents, counts), first, np.minimum(size, np.repeat(lengths, counts) - first)], axis=1)


def best_fit(lengths: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces into windows, longest first, each where the least room is left that takes it (Johnson 1974).

    Args:
        lengths: (pieces,) from 1 to ``size``.

    Returns:
        ``order`` (pieces,), and ``bounds`` (windows + 1,): window i holds the pieces ``order[bounds[i]:bounds[i + 1]]``.
    """
    windows: list[list[int]] = []
    open_: list[list[int]] = [[] for _ in range(size + 1)]  # windows by the room that is left in them
    rooms = 0  # bit r is set where a window has room r: the least that fits is found at once
    for piece in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[piece])
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            window = open_[room].pop()
            if not open_[room]:
                rooms ^= 1 << room
        else:
            room, window = size, len(windows)
            windows.append([])
        windows[window].append(piece)
        if room > length:
            open_[room - length].append(window)
            rooms |= 1 << (room - length)
    order = np.array([piece for window in windows for piece in window], dtype=np.int64)
    return order, np.cumsum([0, *map(len, windows)], dtype=np.int64)
