"""Masking: shares, whole words, spans; infilling, which can be undone; and what is never hidden."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sensorium.data.text.infilling import infill, restore
from sensorium.data.text.masking import Vocabulary, hidden_spans, hide, sentinel_names
from sensorium.data.text.sentences import SentenceParts
from sensorium.data.text.words import Words, token_bytes
from sensorium.errors import RecipeError
from sensorium.modalities import generator
from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.recipe import MaskingRecipe

SPECIAL = ["<pad>", "<s>", "</s>", "<mask>", *sentinel_names(30)]
UNITS = ("token", "whole_word", "span")
SCRIPTS = "the quick brown fox, don't jump! שלום עולם مرحبا بكم 我爱北京。 नमस्ते दुनिया 👩‍🚀 naïve Ünïcode x²"
texts = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(SCRIPTS.split(" ")), max_size=30).map(" ".join),
    st.text(st.sampled_from("ab 我。,\n\tש"), max_size=60),
)
seeds = st.integers(0, 2**31)


@cache
def tokenizer() -> Any:
    return train_tokenizer([SCRIPTS * 3, "brown foxes quickly jumping"], 420, SPECIAL)


@cache
def vocabulary(unit: str = "token") -> Vocabulary:
    return Vocabulary.of(tokenizer(), MaskingRecipe(unit=unit))


def encoded(text: str) -> np.ndarray:
    found = tokenizer()(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return np.array([tokenizer().bos_token_id, *found, tokenizer().eos_token_id])


# -- words -----------------------------------------------------------------------------------------


@given(texts)
def test_token_bytes_are_the_text(text: str) -> None:
    pieces = token_bytes(tokenizer())
    assert b"".join(pieces[i] for i in encoded(text)[1:-1]) == text.encode()


@given(texts)
def test_no_boundary_of_words_lies_inside_a_run_of_letters_and_every_word_holds_one_at_most(text: str) -> None:
    """The text of each numbered word, put together from bytes, is whole characters that no letters were cut from."""
    ids, pieces = encoded(text), token_bytes(tokenizer())
    numbers = Words(tokenizer())(ids)
    assert (np.diff(numbers) >= 0).all() and numbers[0] == 0
    parts = [b"".join(pieces[i] for i in ids[numbers == n]).decode() for n in np.unique(numbers[1:-1])]
    for left, right in pairwise(parts):
        assert not (left[-1:].isalpha() and right[:1].isalpha()) or max(left[-1], right[0]) >= "\u3400"


def test_words_of_several_scripts() -> None:
    """``'t`` is one token of this vocabulary, which ties its two words together."""
    ids = encoded("the quick fox, 我们爱 don't")
    numbers, pieces = Words(tokenizer())(ids), token_bytes(tokenizer())
    found = [b"".join(pieces[i] for i in ids[numbers == n]).decode() for n in range(1, numbers[-1])]
    assert found == ["the", " quick", " fox", ",", " 我", "们", "爱", " don", "'t"]


def test_words_of_word_pieces() -> None:
    words = {"[UNK]": 0, "[CLS]": 1, "play": 2, "##ing": 3, "chess": 4, ",": 5}
    inner = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", cls_token="[CLS]")
    ids = np.array([1, *made.encode("playing, chess", add_special_tokens=False)])
    assert ids.tolist() == [1, 2, 3, 5, 4]
    assert Words(made)(ids).tolist() == [0, 1, 1, 2, 3]


def marked() -> Any:
    """A tokenizer that marks the start of every text and word, as Llama 2's does."""
    pieces = [
        ("<unk>", 0.0),
        ("\u2581play", -1.0),
        ("ing", -1.0),
        ("\u2581", -3.0),
        ("<0x0A>", -9.0),
        ("it", -2.0),
        (".", -2.0),
    ]
    inner = Tokenizer(models.Unigram(pieces, 0, byte_fallback=True))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")


def test_words_behind_a_mark_and_sentences_that_part_at_spaces_alone() -> None:
    made = marked()
    ids = np.array(made.encode("playing it.", add_special_tokens=False))
    assert made.convert_ids_to_tokens(ids.tolist()) == ["\u2581play", "ing", "\u2581", "it", "."]
    assert Words(made)(ids).tolist() == [0, 0, 1, 2, 3]
    assert token_bytes(made)[4] == b"\n"
    parts = SentenceParts(made)
    assert parts("It is so. Was it?\nOne") == ["It is so.", " Was it?\nOne"]


# -- masking ---------------------------------------------------------------------------------------


@given(texts, seeds, st.sampled_from(UNITS), st.floats(0.05, 0.9))
def test_special_tokens_stay_and_answers_are_what_stood_there(text: str, seed: int, unit: str, share: float) -> None:
    ids = encoded(text)
    made = hide(ids, vocabulary(unit), MaskingRecipe(unit=unit, share=share), np.random.default_rng(seed))
    np.testing.assert_array_equal(made.answers, ids[made.places])
    assert not vocabulary().special[made.answers].any()
    assert len(set(made.places.tolist())) == len(made.places) and (bool(len(made.places)) == (len(ids) > 2))
    untouched = np.setdiff1d(np.arange(len(ids)), made.places)
    np.testing.assert_array_equal(made.ids[untouched], ids[untouched])
    shown = made.ids[made.places]
    assert not vocabulary().special[shown[shown != vocabulary().mask]].any()  # no special token stands in for a word


@pytest.mark.parametrize("unit", UNITS)
def test_eight_in_ten_are_masked_one_is_another_one_stays(unit: str) -> None:
    rng = np.random.default_rng(0)
    ids = rng.choice(vocabulary().plain, 40_000)
    made = hide(ids, vocabulary(unit), MaskingRecipe(unit=unit, share=0.3), rng)
    shown = made.ids[made.places]
    same = shown == made.answers
    count = len(shown) / (3 if unit == "span" else 1)  # a span's tokens share their kind
    error = 4 * np.sqrt(0.25 / count)
    assert abs((shown == vocabulary().mask).mean() - 0.8) < error
    assert abs(same.mean() - 0.1) < error
    assert abs((~same & (shown != vocabulary().mask)).mean() - 0.1) < error


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("share", [0.15, 0.4])
def test_the_share_of_hidden_tokens_is_what_was_asked(unit: str, share: float) -> None:
    ids = encoded(" ".join([SCRIPTS] * 10))
    masking = MaskingRecipe(unit=unit, share=share, span=4)
    counts = [
        sum(end - start for start, end in hidden_spans(ids, vocabulary(unit), masking, generator(0, 0, i)))
        for i in range(300)
    ]
    error = 4 * np.std(counts) / np.sqrt(len(counts))
    assert abs(np.mean(counts) - share * (len(ids) - 2)) < max(error, 0.2)


@given(texts, seeds, st.floats(0.05, 0.9))
def test_whole_words_are_hidden_whole(text: str, seed: int, share: float) -> None:
    ids = encoded(text)
    masking = MaskingRecipe(unit="whole_word", share=share)
    made = hide(ids, vocabulary("whole_word"), masking, np.random.default_rng(seed))
    numbers = Words(tokenizer())(ids)
    hidden = np.isin(np.arange(len(ids)), made.places)
    for number in np.unique(numbers):
        assert len(set(hidden[numbers == number])) == 1


def test_spans_have_geometric_lengths_and_stand_apart() -> None:
    rng = np.random.default_rng(0)
    ids = rng.choice(vocabulary().plain, 60_000)
    spans = hidden_spans(ids, vocabulary(), MaskingRecipe(unit="span", share=0.15, span=3), rng)
    lengths = np.array([end - start for start, end in spans])
    assert all(left[1] < right[0] for left, right in pairwise(spans))
    for k in range(1, 5):  # P(length > k) = (1 − 1/3)^k, a little less for what must find a gap
        assert abs((lengths > k).mean() - (2 / 3) ** k) < 0.05
    assert abs(lengths.mean() - 3) < 0.25


def test_the_same_triple_hides_the_same_and_another_epoch_hides_anew() -> None:
    ids, masking = encoded(SCRIPTS * 4), MaskingRecipe()
    one, again, other = (hide(ids, vocabulary(), masking, generator(1, epoch, 7)) for epoch in (0, 0, 1))
    np.testing.assert_array_equal(one.ids, again.ids)
    assert one.places.tolist() != other.places.tolist()


def test_without_a_mask_token_masking_is_refused() -> None:
    bare = Vocabulary.of(train_tokenizer(["a b"], 260, ["<s>", "</s>"]), MaskingRecipe())
    with pytest.raises(RecipeError, match="no mask token; leave masked_lm out"):
        hide(np.array([5]), bare, MaskingRecipe(), generator(0, 0, 0))
    with pytest.raises(RecipeError, match="no sentinels for infilling"):
        infill(np.array([5]), bare, MaskingRecipe(), generator(0, 0, 0))


# -- infilling -------------------------------------------------------------------------------------


@given(texts, seeds, st.sampled_from(UNITS), st.floats(0.05, 0.9))
def test_infilling_can_be_undone_and_teaches_what_is_hidden(text: str, seed: int, unit: str, share: float) -> None:
    ids = encoded(text)
    masking = MaskingRecipe(unit=unit, share=share)
    made = infill(ids, vocabulary(unit), masking, np.random.default_rng(seed))
    np.testing.assert_array_equal(restore(made.ids, vocabulary()), ids)
    sentinels = np.isin(made.ids, vocabulary().sentinels)
    spans = max(0, int(sentinels.sum()) - 1) // 2
    assert len(made.ids) == (len(ids) + 2 * spans + 1 if spans else len(ids))
    taught = made.answers[~np.isin(made.answers, vocabulary().sentinels)]
    hidden = len(ids) - (made.sources[0] - spans if spans else len(ids))
    assert len(taught) == hidden and len(made.answers) == hidden + spans
    if unit != "token" and spans < 29:
        spans_again = hidden_spans(ids, vocabulary(unit), masking, np.random.default_rng(seed))
        np.testing.assert_array_equal(taught, np.concatenate([ids[:0], *(ids[a:b] for a, b in spans_again)]))


def test_infilling_looks_as_documented() -> None:
    a, b, c, d = vocabulary().plain[:4]
    zero, one = vocabulary().sentinels[:2]
    np.testing.assert_array_equal(restore(np.array([a, zero, d, zero, b, c, one]), vocabulary()), [a, b, c, d])
    with pytest.raises(ValueError, match="sentinels stand where none are expected"):
        restore(np.array([a, zero, d, one, b, c, one]), vocabulary())
