"""The pairs that a translator learns from: both sides as token ids, hidden words and pictures where asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from sensorium.data.text.parallel_corpus import ParallelCorpus
from sensorium.errors import DataError
from sensorium.recipe import Recipe
from sensorium.tasks.hidden_words import hide_for_training
from sensorium.tasks.translate import END, Pair, Pictures, encode, tag


@dataclass
class Pairs:
    """``pairs[(epoch, unit)]`` is one pair; what is hidden in its source follows from (seed, epoch, unit).

    Attributes:
        rows: (units,) of the table; source_tokens, target_tokens: ids of each unit, without tag and end.
        tags: (units,) token id of the target language; sources: texts, where words are to be hidden, else empty.
        left_out: line about pairs -> how many.
    """

    rows: np.ndarray
    source_tokens: list[np.ndarray]
    target_tokens: list[np.ndarray]
    tags: np.ndarray
    sources: list[str]
    tokenizer: PreTrainedTokenizerFast
    pictures: Pictures | None
    mask_share: float
    withheld: float  # share of pairs whose picture is not shown, so that a model knows how to do without
    seed: int
    window: int
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """(units,) by which batches are made: the target's tokens, and among equal ones the source's."""
        sides = [np.array([len(ids) for ids in side]) for side in (self.target_tokens, self.source_tokens)]
        return np.asarray(sides[0] * (self.window + 1) + sides[1])

    def __getitem__(self, key: tuple[int, int]) -> Pair:
        epoch, unit = key
        row, first, source = int(self.rows[unit]), self.tags[unit : unit + 1], self.source_tokens[unit]
        if self.mask_share:
            rng = np.random.default_rng([self.seed, epoch, unit])
            if rng.random() < self.mask_share:
                hidden = hide_for_training(self.sources[unit], rng)
                source = encode(self.tokenizer, [hidden], masked=True)[0][: self.window - 2]
        end = np.array([self.tokenizer.convert_tokens_to_ids(END)])
        picture = None
        shown = np.random.default_rng([self.seed, epoch, unit, 1]).random() >= self.withheld
        if self.pictures is not None and shown and bool(self.pictures[1][row]):
            picture = self.pictures[0][row]
        return Pair(
            row,
            np.concatenate([first, source, end]),
            np.concatenate([first, self.target_tokens[unit], end]),
            picture,
        )


def learnable(
    corpus: ParallelCorpus,
    rows: np.ndarray,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    pictures: Pictures | None,
) -> Pairs:
    """The pairs of ``rows`` in every direction; those of more tokens than the window are left out.

    Raises:
        DataError: none is left.
    """
    asked, scratch = recipe.translation, recipe.model.scratch
    assert asked is not None and scratch is not None
    hidden = asked.mask != "none" and asked.mask_share > 0
    kept_rows, tags, sides, texts, most, long = [], [], ([], []), [], scratch.window - 2, 0  # type: ignore[var-annotated]
    for side in corpus.sides(rows):
        said = corpus.texts(side.source, side.rows)
        source, target = encode(tokenizer, said), encode(tokenizer, corpus.texts(side.target, side.rows))
        fits = [i for i in range(len(said)) if len(source[i]) <= most and len(target[i]) <= most]
        long += len(said) - len(fits)
        kept_rows.append(side.rows[fits])
        tags += [tokenizer.convert_tokens_to_ids(tag(side.target))] * len(fits)
        sides[0].extend(source[i] for i in fits)
        sides[1].extend(target[i] for i in fits)
        if hidden:
            texts += [said[i] for i in fits]
    if not tags:
        raise DataError(
            f"no training pair has at most {most} tokens a side",
            where=corpus.table.name,
            mend="raise model.scratch.window",
        )
    left_out = {f"pairs of more than {most} tokens a side (model.scratch.window)": long} if long else {}
    return Pairs(
        np.concatenate(kept_rows),
        *sides,
        np.array(tags),
        texts,
        tokenizer,
        pictures,
        asked.mask_share if hidden else 0.0,
        recipe.model.modality_dropout,
        recipe.training.seed,
        scratch.window,
        left_out,
    )
