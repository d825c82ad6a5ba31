"""From texts to training units: documents parted, tokenised and packed, one reader for each objective."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.data.sources import files_fingerprint, find
from sensorium.errors import DataError
from sensorium.recipe import Recipe, SplitRecipe
from sensorium.tasks.pretrain import Item, window_sequence

PARTS = ("train", "validation", "test")


@dataclass
class Corpus:
    """Documents by part."""

    parts: dict[str, list[str]]
    fingerprint: str


def open_corpus(recipe: Recipe) -> Corpus:
    """The recipe's documents, parted by their content: equal ones never straddle parts.

    Raises:
        DataError: nothing is there, or a part that is asked for stays empty.
    """
    paths = find(recipe.data.source)
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for path in paths:
        for document in _documents(path):
            parts[part_of(document, recipe.data.split)].append(document)
    split = recipe.data.split
    for part, share in (("train", 1.0), ("validation", split.validation), ("test", split.test)):
        if share and not parts[part]:
            raise DataError(f"no document is left for {part}", where=str(recipe.data.source), mend="add documents, parted by blank lines, or change data.split")  # fmt: skip
    return Corpus(parts, files_fingerprint(paths, []))


def _documents(path: Path) -> Iterator[str]:
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        if block.strip():
            yield block.strip()


def part_of(document: str, split: SplitRecipe) -> str:
    """The part that a document falls into: a number in [0, 1) drawn from its content and the seed."""
    digest = hashlib.blake2b(document.encode(), digest_size=8, salt=str(split.seed).encode()[:16]).digest()
    draw = int.from_bytes(digest, "big") / 2**64
    if draw < split.test:
        return "test"
    return "validation" if draw < split.test + split.validation else "train"


@dataclass
class Window:
    """Packed tokens: ``ids``, ``positions`` and ``branches`` (tokens,), and the document of each branch."""

    ids: np.ndarray
    positions: np.ndarray
    branches: np.ndarray
    documents: list[int]


def tokenised(texts: Sequence[str], tokenizer: Any) -> list[np.ndarray]:
    """Each text's tokens between the tokens that begin and end a document."""
    begin = next(t for t in (tokenizer.cls_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) if t is not None)
    end = next(t for t in (tokenizer.sep_token_id, tokenizer.eos_token_id, begin) if t is not None)
    if not texts:
        return []
    found = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [np.array([begin, *ids, end], dtype=np.int64) for ids in found]


def packed(documents: Sequence[np.ndarray], size: int) -> list[Window]:
    """Windows of ``size`` tokens; a document that is cut goes on from its last token, so each token is foretold once."""
    windows: list[Window] = []
    pieces: list[tuple[int, np.ndarray]] = []
    room = size
    for number, document in enumerate(documents):
        start = 0
        while start < len(document) - 1:
            if room < 2:
                windows.append(_window(pieces))
                pieces, room = [], size
            piece = document[start : start + room]
            pieces.append((number, piece))
            room -= len(piece)
            start += len(piece) - 1
    if pieces:
        windows.append(_window(pieces))
    return windows


def _window(pieces: list[tuple[int, np.ndarray]]) -> Window:
    return Window(
        np.concatenate([piece for _, piece in pieces]),
        np.concatenate([np.arange(len(piece)) for _, piece in pieces]),
        np.repeat(np.arange(len(pieces)), [len(piece) for _, piece in pieces]),
        [number for number, _ in pieces],
    )


@dataclass
class Units:
    """``units[(epoch, unit)]``: the unit's sequence for each objective."""

    windows: list[Window]
    seed: int

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        _, unit = key
        window = self.windows[unit]
        return Item(unit, {"causal_lm": window_sequence(window.ids, window.positions, window.branches, unit)})
