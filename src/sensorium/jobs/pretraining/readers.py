"""One reader for each objective: packed windows, pairs of sentences and captions as sequences to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from sensorium.data.collate import Sequence as Tokens
from sensorium.data.text.infilling import infill
from sensorium.data.text.masking import Vocabulary, hide
from sensorium.data.text.mixing import Mixture
from sensorium.data.text.packing import Window
from sensorium.data.text.sentence_pairs import SentencePairs
from sensorium.modalities import generator
from sensorium.recipe import MaskingRecipe
from sensorium.tasks.pretrain import captioned, filling, following, foretelling, naming


class Reader(Protocol):
    """Sequences of one objective: ``reader[(epoch, index)]``, whatever is drawn following from both."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[int, int]) -> Tokens: ...

    def units(self, index: int) -> np.ndarray:
        """The document or row of each owner of answers in the sequence at ``index``."""
        ...


@dataclass
class Foretold:
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
    """Packed windows with hidden tokens: named where they stand, or on a causal model foretold at the end.

    Attributes:
        room: most tokens of a sequence, which infilling lengthens.
    """

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
class Following:
    """Pairs of sentences: half true ones to be judged, or on a causal model true ones to be foretold.

    Attributes:
        places: (n,) which of the pairs; begin, end: the tokens around a text.
    """

    pairs: SentencePairs
    places: np.ndarray
    causal: bool
    begin: int
    end: int

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, key: tuple[int, int]) -> Tokens:
        epoch, place = key
        return self.pair(place, bool(self.causal or (epoch + place) % 2 == 0), epoch)

    def pair(self, place: int, follows: bool, epoch: int = 0) -> Tokens:
        """The sentence at ``place`` with the one that follows, or with one of another document."""
        index = int(self.places[place])
        own = 2 * epoch + (index + self.pairs.seed) % 2  # an epoch in which the pair is true; in the next it is not
        found = self.pairs[(own if follows else own + 1, index)]
        closing = [] if self.causal else [self.end]  # a document goes on behind its second sentence
        first, second = np.append(np.append(self.begin, found.first), closing), np.append(found.second, closing)
        return following(first.astype(np.int64), second.astype(np.int64), found.follows, self.causal, place)

    def units(self, index: int) -> np.ndarray:
        own = int(self.places[index])
        return np.array([self.pairs[((own + self.pairs.seed) % 2, own)].documents[0]])


@dataclass
class Captions:
    """Texts beside their media, (tokens,) each.

    Attributes:
        texts: of each row its several texts, as tokens; between, begin, end: what stands between and around them.
        features: (n, width) of the media; groups: (n,) rows of one number have one text.
        rows: (n,) their places among the part's texts.
        room: most tokens; what is beyond is cut, and the token that ends a text kept.
        drawn: seed by which each epoch reads a part of a row's several texts, in training; None: all of them.
    """

    texts: Sequence[Sequence[np.ndarray]]
    between: np.ndarray
    begin: int
    end: int
    features: Tensor
    groups: np.ndarray
    rows: np.ndarray
    column: str
    room: int
    drawn: int | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, key: tuple[int, int]) -> Tokens:
        epoch, row = key
        texts = list(self.texts[row])
        if self.drawn is not None and len(texts) > 1:
            rng = generator(self.drawn, epoch, row)
            kept = rng.random(len(texts)) < 0.5
            kept[rng.integers(len(texts))] = True
            texts = [text for text, keep in zip(texts, kept, strict=True) if keep]
        joined = [part for text in texts for part in (self.between, text)][1:]
        ids = np.concatenate([[self.begin], *joined])[: self.room - 1]
        ids = np.append(ids, self.end).astype(np.int64)
        return captioned(ids, self.features[row][None], self.column, int(self.groups[row]), row)

    def units(self, index: int) -> np.ndarray:
        return self.rows[index : index + 1]


@dataclass
class Replaying:
    """A reader and what is read again, mixed."""

    main: Reader
    replay: Reader
    mixture: Mixture

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, key: tuple[int, int]) -> Tokens:
        again, number = self.mixture(*key)
        return (self.replay if again else self.main)[(key[0], number)]

    def units(self, index: int) -> np.ndarray:
        again, number = self.mixture(0, index)
        return (self.replay if again else self.main).units(number)
