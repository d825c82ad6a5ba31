"""Byte-level BPE: what goes in comes out, always in the same pieces."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sensorium.errors import DataError, RecipeError
from sensorium.models.language.tokenizer_training import train_tokenizer

TEXTS = [
    "a red fox and a red hen",
    "ein roter Fuchs und eine rote Henne",
    "שועל אדום",
    "赤い狐",
    "  two  spaces ,and\ttab",
]
SPECIAL = ["<pad>", "<s>", "</s>", "<2de>", "<2en>"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS * 5, 320, SPECIAL)


def test_ids_and_roles_of_special_tokens_follow_the_list(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_tokens_to_ids(SPECIAL) == [0, 1, 2, 3, 4]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert len(tokenizer) <= 320


def test_merges_are_by_frequency() -> None:
    """An independent count: the most frequent pair of bytes inside words is the first merge."""
    tokenizer = train_tokenizer(["abab abab xy"], 300, [])
    first = [token for token, i in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1]) if i == 256]
    assert first == ["ab"]


def test_order_of_texts_does_not_matter(tokenizer: PreTrainedTokenizerFast) -> None:
    shuffled = TEXTS * 5
    random.Random(0).shuffle(shuffled)
    again = train_tokenizer(iter(shuffled), 320, SPECIAL)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_the_name_of_a_special_token_in_a_text_is_just_characters(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("a </s> b", split_special_tokens=True)["input_ids"]
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a </s> b"


def test_saved_and_opened_it_is_the_same(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    text = "a red Fuchs , 赤い </s>"
    assert opened(text, split_special_tokens=True) == tokenizer(text, split_special_tokens=True)
    assert opened.pad_token_id == 0


def test_a_line_of_a_megabyte_is_read() -> None:
    assert len(train_tokenizer(["ab" * 500_000, "word " * 200_000], 300, ["<pad>"])) <= 300


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(RecipeError, match="no room for 256 bytes and 5 special tokens; set at least 261"):
        train_tokenizer(TEXTS, 260, SPECIAL)


def test_no_text_is_refused() -> None:
    with pytest.raises(DataError, match="no text to train a tokenizer on"):
        train_tokenizer([], 300, [])
