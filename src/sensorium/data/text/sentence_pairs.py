"""Pairs of sentences for next-sentence prediction: half follow each other, half do not (Devlin et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.data.text.stream import Corpus, Shard, derived, inside, mapped
from sensorium.errors import DataError
from sensorium.modalities import generator
from sensorium.recipe import SplitRecipe
from sensorium.run import sha256_text

VERSION = 1
TRIES = 100  # draws of a wrong sentence; only a corpus that hardly holds another document needs more


@dataclass
class Pair:
    """Two sentences as tokens (tokens,), whether the second follows the first, and the documents that they are of."""

    first: np.ndarray
    second: np.ndarray
    follows: bool
    documents: tuple[int, int]


@dataclass
class SentencePairs:
    """``pairs[(epoch, index)]``: the sentence at ``index`` that has a next one, and that one or one of another document.

    Of two neighbouring numbers one pair is true in even epochs and the other in odd ones, so half are true in every epoch and
    every sentence is seen both ways. A wrong second sentence follows some sentence of another document: both kinds are
    second sentences, and nothing but the first tells them apart.

    Attributes:
        room: most tokens of both sentences; the longer one is cut, the first at its beginning, the second at its end.
        firsts: (shards + 1,) number of each shard's first pair.
    """

    corpus: Corpus
    folder: Path
    room: int
    seed: int
    firsts: np.ndarray
    _places: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def __getitem__(self, key: tuple[int, int]) -> Pair:
        epoch, index = key
        document, first, second = self._sentences(index)
        follows = (index + epoch + self.seed) % 2 == 0
        owner = document
        if not follows:
            owner, second = self._other(document, second, generator(self.seed, epoch, index))
        left, right = cut(len(first), len(second), self.room)
        return Pair(first[len(first) - left :], second[:right], follows, (document, owner))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_places": {}}

    def _other(self, document: int, true: np.ndarray, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        """A second sentence of another document, that does not say the same."""
        for index in rng.integers(len(self), size=TRIES).tolist():
            other, _, second = self._sentences(index)
            if other != document and not np.array_equal(second, true):
                return other, second
        raise _too_few()

    def _sentences(self, index: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Document, the sentence at ``index`` and the next one."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self.firsts, index, side="right")) - 1
        if number not in self._places:
            self._places[number] = mapped(self.folder / f"{number:05d}" / "places.npy")
        local, sentence = self._places[number][index - int(self.firsts[number])]
        shard = self.corpus.shard(number)
        last = int(shard.starts[local + 1]) - 1  # of the document: the token that ends it
        edges = [*shard.sentences[sentence : sentence + 3].tolist(), last]
        start, middle, end = edges[0], edges[1], min(edges[2], last)
        first, second = (np.asarray(shard.tokens[a:b], dtype=np.int64) for a, b in ((start, middle), (middle, end)))
        return int(local) + int(self.corpus.firsts[number]), first, second


def sentence_pairs(
    corpus: Corpus, room: int, split: SplitRecipe, part: str | None = None, seed: int = 0
) -> SentencePairs:
    """The pairs of a part's documents; where they stand is kept beside the corpus.

    Args:
        room: most tokens of both sentences together, without special ones.
        part: of ``text_stream.PARTS``; None: all documents.

    Raises:
        DataError: fewer than two documents have two sentences, or the tokenizer does not tell sentences apart.
    """
    if not corpus.sentences:
        raise DataError(
            "this tokenizer's tokens do not part at sentences",
            where="pretraining.objectives",
            mend="leave next_sentence out, or use a byte-level tokenizer",
        )
    asked = f"{VERSION} {part} " + (f"{split.validation} {split.test} {split.seed}" if part else "")
    name = f"sentences-{sha256_text(asked)[:32]}"
    folder = derived(corpus, name, lambda shard: {"places": places(shard, part, split)})
    found = [mapped(folder / f"{number:05d}" / "places.npy") for number in range(corpus.shards)]
    if sum(len(np.unique(of_shard[:, 0])) for of_shard in found) < 2:
        raise _too_few()
    return SentencePairs(corpus, folder, room, seed, np.cumsum([0, *map(len, found)], dtype=np.int64))


def places(shard: Shard, part: str | None, split: SplitRecipe) -> np.ndarray:
    """(pairs, 2): document and sentence, by their numbers in the shard, of each sentence that another one follows."""
    owners = np.searchsorted(shard.starts, shard.sentences, side="right") - 1
    followed = np.flatnonzero(owners[1:] == owners[:-1])
    followed = followed[np.isin(owners[followed], inside(shard, part, split))]
    return np.stack([owners[followed], followed], axis=1)


def cut(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens two sentences may keep: the longer one gives way until both fit."""
    if first + second <= room:
        return first, second
    half = room // 2
    if min(first, second) <= half:
        return (first, room - first) if first <= second else (room - second, second)
    return room - half, half


def _too_few() -> DataError:
    return DataError(
        "fewer than two documents have two sentences",
        where="pretraining.objectives",
        mend="leave next_sentence out, or add documents of several sentences parted by blank lines",
    )
