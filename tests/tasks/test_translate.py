"""The task of translating: pairs to a batch, the loss per token, and texts in their order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.models.language.translator import Translator, TranslatorConfig
from sensorium.tasks.hidden_words import MARK
from sensorium.tasks.translate import Pair, Translate, encode, padded, special_tokens, tag, translate_texts


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["a red fox", "ein roter Fuchs"] * 9, 300, special_tokens(["en", "de"]))


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerFast) -> Translator:
    torch.manual_seed(0)
    tags = {language: tokenizer.convert_tokens_to_ids(tag(language)) for language in ("en", "de")}
    return Translator(TranslatorConfig(len(tokenizer), 16, 1, 2, 32, 0.1, window=20, tags=tags, picture_width=4)).eval()


def pair(source: list[int], target: list[int], picture: torch.Tensor | None = None) -> Pair:
    return Pair(0, np.array(source, np.int32), np.array(target, np.int32), picture)


def test_one_pair_in_a_batch() -> None:
    batch = Translate(0).collate([pair([3, 7, 8, 1], [4, 9, 1]), pair([3, 7, 1], [4, 9, 10, 11, 1])])
    assert batch.source.tolist() == [[3, 7, 8, 1], [3, 7, 1, 0]] and batch.present.sum().item() == 7
    assert batch.target.tolist() == [[4, 9, 0, 0], [4, 9, 10, 11]]
    assert batch.wanted.tolist() == [9, 1, 9, 10, 11, 1]
    assert batch.features is None


def test_a_batch_without_a_single_picture_has_room_for_them() -> None:
    batch = Translate(0, shape=(2, 4)).collate([pair([3, 1], [4, 1])])
    assert batch.features is not None and batch.features.shape == (1, 2, 4)
    assert batch.pictured is not None and not batch.pictured.any()


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(1, 99), max_size=9), min_size=1, max_size=8))
def test_padding_keeps_every_id_in_place(rows: list[list[int]]) -> None:
    ids, real = padded([np.array(row, dtype=np.int32) for row in rows], 0)
    assert [ids[i][real[i]].tolist() for i in range(len(rows))] == rows
    assert not ids[~real].any()


def test_the_loss_of_a_batch_is_the_sum_of_its_pairs(model: Translator) -> None:
    task, pairs = Translate(0, 0.1), [pair([3, 7, 8, 1], [4, 9, 1]), pair([3, 70, 1], [4, 9, 10, 11, 1])]
    with torch.no_grad():
        together = task.loss(model, task.collate(pairs))
        alone = [task.loss(model, task.collate([one])) for one in pairs]
    assert together.count == sum(one.count for one in alone) == 6
    assert float(together.total) == pytest.approx(sum(float(one.total) for one in alone), rel=1e-5)


def test_the_loss_is_the_smoothed_likelihood_in_numpy(model: Translator) -> None:
    task, batch = Translate(0, 0.1), Translate(0).collate([pair([3, 7, 8, 1], [4, 9, 1])])
    with torch.no_grad():
        states, table = model(batch.source, batch.present, batch.target, batch.real)
        ours = float(task.loss(model, batch).total)
    scores = (states.double() @ table.detach().double().T).numpy()
    logs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    assert ours == pytest.approx(-(0.9 * logs[[0, 1], [9, 1]] + 0.1 * logs.mean(-1)).sum(), rel=1e-6)


def test_only_where_asked_the_mark_of_hidden_words_is_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    mark = tokenizer.convert_tokens_to_ids(MARK)
    (text,), (masked,) = encode(tokenizer, [f"a {MARK} fox"]), encode(tokenizer, [f"a {MARK} fox"], masked=True)
    assert mark not in text and mark in masked
    assert encode(tokenizer, []) == []


def test_texts_come_back_in_their_order_whatever_the_batch(
    model: Translator, tokenizer: PreTrainedTokenizerFast
) -> None:
    texts = ["a red fox", "fox", "", "red red red red", "a fox a fox", "赤い", "x" * 500]
    into = ["de", "en", "de", "en", "de", "de", "en"]
    counts: list[int] = []
    whole = translate_texts(model, tokenizer, texts, into, beam_size=2, done=counts.append)
    assert len(whole) == sum(counts) == len(texts)
    for size in (1, 3):
        assert translate_texts(model, tokenizer, texts, into, beam_size=2, batch_size=size) == whole
    assert translate_texts(model, tokenizer, texts[::-1], into[::-1], beam_size=2) == whole[::-1]


def test_a_picture_can_change_a_translation(model: Translator, tokenizer: PreTrainedTokenizerFast) -> None:
    texts, into = ["a red fox"] * 4, ["de"] * 4
    torch.manual_seed(1)
    features = torch.randn(4, 2, 4) * 9
    seen = translate_texts(model, tokenizer, texts, into, (features, torch.tensor([True, True, True, False])))
    plain = translate_texts(model, tokenizer, texts, into)
    assert seen[3] == plain[3] and seen[:3] != plain[:3]
