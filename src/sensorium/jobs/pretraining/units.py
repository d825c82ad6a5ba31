"""Training units, and what is held out: a reader for each of the recipe's objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.data.text.masking import Vocabulary
from sensorium.data.text.mixing import Mixture
from sensorium.data.text.packing import Window, packed
from sensorium.data.text.sentence_pairs import sentence_pairs
from sensorium.data.text.sentences import encoded
from sensorium.data.text.stream import ends
from sensorium.jobs.prepare import fixed_choice
from sensorium.jobs.pretraining.data import PartTokens, Texts
from sensorium.jobs.pretraining.parts import Start
from sensorium.jobs.pretraining.readers import Captions, Following, Foretold, Masked, Reader, Replaying
from sensorium.jobs.pretraining.table import BETWEEN, texts_of
from sensorium.models.language.pretraining import MEDIA
from sensorium.recipe import PretrainingRecipe, Recipe
from sensorium.tasks.pretrain import WITH_MEDIA, Item


@dataclass
class Units:
    """``units[(epoch, unit)]``: the unit's sequences. Every reader is read once an epoch, spread evenly over the units."""

    readers: dict[str, Reader]

    def __len__(self) -> int:
        return max(len(reader) for reader in self.readers.values())

    def __getitem__(self, key: tuple[int, int]) -> Item:
        (epoch, unit), count, sequences = key, len(self), {}
        for name, reader in self.readers.items():
            place, after = (edge * len(reader) // count for edge in (unit, unit + 1))
            if after > place:  # else it is another unit's turn
                sequences[name] = reader[(epoch, place)]
        return Item(unit, sequences)

    @property
    def shares(self) -> dict[str, float]:
        """Sequences of each reader for a unit, on average."""
        return {name: len(reader) / len(self) for name, reader in self.readers.items()}


@dataclass
class Some(Sequence[Window]):
    """The windows at ``places``."""

    windows: Any
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: Any) -> Any:
        return self.windows[int(self.places[number])]


def text_readers(
    tokens: PartTokens,
    asked: PretrainingRecipe,
    start: Start,
    seed: int,
    *,
    most: int | None = None,
    foretell: bool = False,
) -> dict[str, Reader]:
    """A reader for each objective that texts alone serve.

    Args:
        most: windows at the most, the same ones each time; None: all.
        foretell: add the causal language model where the model is causal, whatever it learns by.
    """

    def windows(size: int) -> Sequence[Window]:
        made = packed(tokens.corpus, size, tokens.split, tokens.part, overlap=1 if start.causal else 0)
        return made if most is None else Some(made, fixed_choice(np.arange(len(made)), most))  # type: ignore[return-value]

    readers: dict[str, Reader] = {}
    if "causal_lm" in asked.objectives or (foretell and start.causal):
        readers["causal_lm"] = Foretold(windows(start.window))
    if "masked_lm" in asked.objectives:
        size = start.window if not start.causal else int((start.window - 3) / (1 + 2 * asked.masking.share))
        vocabulary = Vocabulary.of(start.tokenizer, asked.masking)
        readers["masked_lm"] = Masked(windows(size), vocabulary, asked.masking, start.causal, start.window, seed)
    if "next_sentence" in asked.objectives:
        pairs = sentence_pairs(tokens.corpus, start.window - 3, tokens.split, tokens.part, seed)
        places = fixed_choice(np.arange(len(pairs)), most or len(pairs))
        readers["next_sentence"] = Following(pairs, places, start.causal, *ends(start.tokenizer))
    return readers


def captions(texts: Texts, part: str, start: Start, features: dict[int, Tensor], drawn: int | None = None) -> Captions:
    """The rows of a part that have a medium.

    Args:
        features: row -> (1, width).
        drawn: see ``Captions``.
    """
    assert texts.table is not None
    rows, words = texts.table.rows[part], texts.table.texts[part]
    places = [place for place, row in enumerate(rows.tolist()) if row in features]
    said = [texts_of(texts.table.prepared, int(rows[place])) for place in places]
    flat = iter(encoded([text for several in said for text in several], start.tokenizer) if said else [])
    numbers: dict[str, int] = {}
    vectors = [features[int(rows[place])][0] for place in places]
    begin, end = ends(start.tokenizer)
    return Captions(
        texts=[[next(flat) for _ in several] for several in said],
        between=encoded([BETWEEN], start.tokenizer)[0],
        begin=begin,
        end=end,
        features=torch.stack(vectors) if vectors else torch.zeros(0, 1),
        groups=np.array([numbers.setdefault(words[place], len(numbers)) for place in places], dtype=np.int64),
        rows=np.array(places, dtype=np.int64),
        column=str(texts.table.column),
        room=start.window - 1,  # a medium may stand before them
        drawn=drawn,
    )


def training_readers(
    recipe: Recipe,
    start: Start,
    texts: Texts,
    tokens: dict[str, PartTokens],
    features: dict[int, Tensor],
    again: PartTokens | None,
) -> dict[str, Reader]:
    """A reader for each of the recipe's objectives, over the training part and what is read again."""
    asked, seed = recipe.pretraining, recipe.training.seed
    assert asked is not None
    readers = text_readers(tokens["train"], asked, start, seed)
    if again is not None:
        for name, other in text_readers(again, asked, start, seed).items():
            main = readers[name]
            readers[name] = Replaying(main, other, Mixture(len(main), len(other), asked.replay_share, seed))
    return readers | media_readers(asked, texts, "train", start, features, drawn=seed)


def held_out_readers(
    recipe: Recipe, start: Start, texts: Texts, part: str, tokens: dict[str, PartTokens], features: dict[int, Tensor]
) -> dict[str, Reader]:
    """The same over a part that is chosen (validation) or reported on (test), as much of it as the recipe allows."""
    asked, evaluation = recipe.pretraining, recipe.evaluation
    assert asked is not None
    most = evaluation.max_rows if part == "test" else evaluation.validation_rows
    readers = text_readers(tokens[part], asked, start, recipe.training.seed, most=most, foretell=part == "test")
    return readers | media_readers(asked, texts, part, start, features)


def media_readers(
    asked: PretrainingRecipe,
    texts: Texts,
    part: str,
    start: Start,
    features: dict[int, Tensor],
    drawn: int | None = None,
) -> dict[str, Reader]:
    """The reader that contrastive and matching share, where the recipe asks for one of them."""
    if not any(name in WITH_MEDIA for name in asked.objectives):
        return {}
    return {MEDIA: captions(texts, part, start, features, drawn)}
