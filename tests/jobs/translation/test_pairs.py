"""Pairs to learn from: both ways, the same after every resume, hidden words and pictures by their shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.data.tables import from_rows
from sensorium.data.text.parallel_corpus import ParallelCorpus, open_corpus
from sensorium.errors import DataError
from sensorium.jobs.translation.pairs import Pairs, learnable
from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.recipe import Recipe
from sensorium.tasks.hidden_words import MARK
from sensorium.tasks.translate import END, special_tokens, tag

ROWS = [{"en": f"the red fox {i}", "de": f"der rote Fuchs {i}", "picture": "p.png"} for i in range(400)]


def recipe(**more: object) -> Recipe:
    translation = {"directions": ["en-de", "de-en"], **more}
    scratch = {"architecture": "encoder_decoder", "vocabulary": 300, "window": 24}
    return Recipe.parse(
        {
            "task": "generate",
            "data": {"source": "rows", "split": {"validation": 0, "test": 0.1}},
            "model": {"scratch": scratch, "modality_dropout": 0.25},
            "translation": translation,
        }
    )


def pairs_of(recipe: Recipe, tmp_path: Path, pictures: bool = False) -> tuple[Pairs, ParallelCorpus]:
    assert recipe.translation is not None
    corpus = open_corpus(from_rows(ROWS, tmp_path), recipe.data, recipe.translation.directions, None)
    tokenizer = train_tokenizer(corpus.texts("en") + corpus.texts("de"), 300, special_tokens(corpus.languages))
    shown = (torch.ones(len(ROWS), 2, 3), torch.ones(len(ROWS), dtype=torch.bool)) if pictures else None
    return learnable(corpus, corpus.splits.train, tokenizer, recipe, shown), corpus


def test_every_row_both_ways(tmp_path: Path) -> None:
    pairs, corpus = pairs_of(recipe(), tmp_path)
    assert len(pairs) == 2 * len(corpus.splits.train) and len(pairs.lengths) == len(pairs)
    words = pairs.tokenizer
    found = [pairs[(0, unit)] for unit in range(len(pairs))]
    tags = [words.convert_ids_to_tokens(int(pair.source[0])) for pair in found]
    assert tags.count(tag("de")) == tags.count(tag("en")) == len(corpus.splits.train)
    for pair in found[:5]:
        assert pair.source[0] == pair.target[0] and pair.source[-1] == pair.target[-1] == words.convert_tokens_to_ids(
            END
        )
        assert words.decode(pair.source[1:-1]) == ROWS[pair.row]["en"]
        assert words.decode(pair.target[1:-1]) == ROWS[pair.row]["de"]


def test_what_is_hidden_follows_from_seed_epoch_and_unit(tmp_path: Path) -> None:
    pairs, _ = pairs_of(recipe(mask="words", mask_share=0.5), tmp_path, pictures=True)
    mark = pairs.tokenizer.convert_tokens_to_ids(MARK)
    keys = [(epoch, unit) for epoch in range(2) for unit in range(len(pairs))]
    first = [pairs[key] for key in keys]
    for key, pair in list(zip(keys, first, strict=True))[::97]:
        again = pairs[key]
        assert np.array_equal(again.source, pair.source) and (again.picture is None) == (pair.picture is None)
    assert np.mean([mark in pair.source for pair in first]) == pytest.approx(0.5, abs=0.06)
    assert np.mean([pair.picture is None for pair in first]) == pytest.approx(0.25, abs=0.05)
    assert not any(mark in pair.target for pair in first)
    half = len(pairs)
    assert any(not np.array_equal(a.source, b.source) for a, b in zip(first[:half], first[half:], strict=True))


def test_too_long_pairs_are_left_out_and_counted(tmp_path: Path) -> None:
    short = recipe()
    whole, _ = pairs_of(short, tmp_path)
    sizes = np.maximum([len(ids) for ids in whole.source_tokens], [len(ids) for ids in whole.target_tokens])
    limit = int(np.median(sizes))
    scratch = short.model.scratch.model_copy(update={"window": limit + 2})  # type: ignore[union-attr]
    cut = short.model_copy(update={"model": short.model.model_copy(update={"scratch": scratch})})
    fewer, _ = pairs_of(cut, tmp_path)
    assert len(fewer) == int((sizes <= limit).sum()) < len(whole)
    assert list(fewer.left_out.values()) == [len(whole) - len(fewer)]
    tiny = scratch.model_copy(update={"window": 3})
    with pytest.raises(DataError, match="no training pair has at most 1 tokens a side"):
        pairs_of(short.model_copy(update={"model": short.model.model_copy(update={"scratch": tiny})}), tmp_path)
