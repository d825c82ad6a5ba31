"""From texts to training units: tokenised, packed, and read anew for each objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sensorium.data.collate import Sequence as Tokens
from sensorium.data.infilling import infill
from sensorium.data.masking import Vocabulary, hide
from sensorium.jobs.pretraining_data import Texts
from sensorium.jobs.pretraining_parts import Start
from sensorium.modalities import generator
from sensorium.models.pretraining import MEDIA
from sensorium.recipe import MaskingRecipe, Recipe
from sensorium.tasks.pretrain import WITH_MEDIA, Item, Window, captioned, filling, foretelling, naming


@dataclass
class Material:
    """A part's documents or rows, tokenised.

    Attributes:
        tokens: of each; features: (rows, width) of their media where they have some, and ``with_media`` (n,) their places.
        groups: (n,) numbers, equal where texts are; clusters: (n,) labels of what is drawn together, or None.
    """

    tokens: Sequence[np.ndarray]
    groups: np.ndarray
    features: Tensor
    with_media: np.ndarray
    column: str | None = None
    clusters: np.ndarray | None = None


def material(part: str, texts: Texts, start: Start, features: dict[int, Tensor]) -> Material:
    """A part's texts between the tokens that begin and end one, and the features (1, width) of their rows' media."""
    tokens = tokenised(texts.parts[part], start.tokenizer)
    groups = np.unique(np.array(texts.parts[part], dtype=object).astype(str), return_inverse=True)[1]
    if texts.table is None:
        return Material(tokens, groups, torch.zeros(0, 1), np.zeros(0, dtype=np.int64))
    rows = texts.table.rows[part]
    places = np.array([place for place, row in enumerate(rows) if int(row) in features], dtype=np.int64)
    vectors = [features[int(rows[place])][0] for place in places]
    return Material(tokens, groups, torch.stack(vectors) if vectors else torch.zeros(0, 1), places, texts.table.column)


def readers_of(part: Material, recipe: Recipe, start: Start, foretell: bool = False) -> dict[str, Reader]:
    """A reader for each of the recipe's objectives.

    Args:
        foretell: add the causal language model where the model is causal, whatever it learns by.
    """
    asked, seed = recipe.pretraining, recipe.training.seed
    assert asked is not None
    if not len(part.tokens):
        return {}
    readers: dict[str, Reader] = {}
    if "causal_lm" in asked.objectives or (foretell and start.causal):
        readers["causal_lm"] = Windows(packed(part.tokens, start.window))
    if "masked_lm" in asked.objectives:
        size = start.window if not start.causal else int((start.window - 3) / (1 + 2 * asked.masking.share))
        vocabulary = Vocabulary.of(start.tokenizer, asked.masking)
        readers["masked_lm"] = Masked(
            packed(part.tokens, size), vocabulary, asked.masking, start.causal, start.window, seed
        )
    if any(name in WITH_MEDIA for name in asked.objectives):
        readers[MEDIA] = Captions.of(part, start.window - 1)
    return readers


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
        np.array([number for number, _ in pieces]),
    )


class Reader(Protocol):
    """Sequences of one objective: ``reader[(epoch, index)]``, whatever is drawn following from both."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[int, int]) -> Tokens: ...

    def units(self, index: int) -> np.ndarray:
        """The document or row of each owner of answers in the sequence at ``index``."""
        ...


@dataclass
class Windows:
    """Packed windows for the causal language model."""

    windows: Sequence[Window]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: tuple[int, int]) -> Tokens:
        return foretelling(self.windows[key[1]], key[1])

    def units(self, index: int) -> np.ndarray:
        return self.windows[index].documents


@dataclass
class Masked:
    """Packed windows with hidden tokens: named where they stand, or on a causal model foretold at the end."""

    windows: Sequence[Window]
    vocabulary: Vocabulary
    masking: MaskingRecipe
    causal: bool
    room: int
    seed: int

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: tuple[int, int]) -> Tokens:
        epoch, unit = key
        window, rng = self.windows[unit], generator(self.seed, epoch, unit)
        if not self.causal:
            return naming(window, hide(window.ids, self.vocabulary, self.masking, rng), unit)
        cuts = np.flatnonzero(np.diff(window.branches)) + 1
        parts = [infill(ids, self.vocabulary, self.masking, rng) for ids in np.split(window.ids, cuts)]
        return filling(parts, self.room, unit)

    def units(self, index: int) -> np.ndarray:
        return self.windows[index].documents


@dataclass
class Captions:
    """Texts beside their media; ``tokens`` (n,) and ``features`` (n, width) in the same order, texts of a group alike."""

    tokens: Sequence[np.ndarray]
    features: Tensor
    groups: np.ndarray
    column: str

    @classmethod
    def of(cls, part: Material, room: int) -> Captions:
        """The rows that have a medium; texts beyond ``room`` tokens are cut, and keep the token that ends them."""
        tokens = [part.tokens[place] for place in part.with_media]
        cut = [ids if len(ids) <= room else np.append(ids[: room - 1], ids[-1]) for ids in tokens]
        return cls(cut, part.features, part.groups[part.with_media], str(part.column))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, key: tuple[int, int]) -> Tokens:
        row = key[1]
        return captioned(self.tokens[row], self.features[row][None], self.column, int(self.groups[row]), row)

    def units(self, index: int) -> np.ndarray:
        return np.array([index])


@dataclass
class Units:
    """``units[(epoch, unit)]``: a sequence of each objective; the longest reader is read once an epoch, others more often."""

    readers: dict[str, Reader]

    def __len__(self) -> int:
        return max(len(reader) for reader in self.readers.values())

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, unit = key
        rounds, place = {}, epoch * len(self) + unit
        for name, reader in self.readers.items():
            passes, index = divmod(place, len(reader))
            rounds[name] = reader[(passes, index)]
        return Item(unit, rounds)
