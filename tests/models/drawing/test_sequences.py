"""Forms of sequences: what stands where, what is learnt, and that batches change nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.models.drawing import sequences
from sensorium.models.drawing.sequences import DrawingSequence, batch_of, dropped, hidden_places
from sensorium.models.drawing.vocabulary import (
    END,
    FEATURE,
    HIDDEN,
    MARKS,
    MASKED,
    PICTURE,
    SOURCE,
    WORDS,
    Vocabulary,
)
from tests.models.drawing.small_drawer import FEATURES, codes_of, drawer

TINY = Vocabulary(words=10, codes=6, grid=2)
A, B = [0, 5, 2, 1], [3, 3, 0, 4]


def code(*numbers: int) -> list[int]:
    return [10 + number for number in numbers]


def test_draw_learns_every_code_from_what_stands_before_it() -> None:
    made = sequences.draw(TINY, [7, 8], A)
    assert made.ids.tolist() == [TINY.mark(WORDS), 7, 8, TINY.mark(PICTURE), *code(*A)]
    assert made.answers.tolist() == [-1, -1, -1, *code(*A), -1]
    assert made.places.tolist() == [-1, -1, -1, -1, 0, 1, 2, 3]


def test_caption_learns_every_word_and_the_end() -> None:
    made = sequences.caption(TINY, [7, 8], A, torch.zeros(2, 3))
    feature = TINY.mark(FEATURE)
    assert made.ids.tolist() == [feature, feature, TINY.mark(PICTURE), *code(*A), TINY.mark(WORDS), 7, 8]
    assert made.answers.tolist() == [-1] * 7 + [7, 8, TINY.mark(END)]
    assert sequences.caption(TINY, [7], A, ended=False).answers.tolist() == [-1] * 5 + [7, -1]


def test_edit_learns_the_second_picture_alone() -> None:
    made = sequences.edit(TINY, A, [9], B)
    assert made.ids.tolist() == [TINY.mark(SOURCE), *code(*A), TINY.mark(WORDS), 9, TINY.mark(PICTURE), *code(*B)]
    assert made.answers.tolist() == [-1] * 7 + [*code(*B), -1]


def test_masked_learns_hidden_codes_at_their_own_places() -> None:
    made = sequences.masked(TINY, [9], A, np.array([True, False, False, True]))
    hidden = TINY.mark(HIDDEN)
    assert made.ids.tolist() == [TINY.mark(WORDS), 9, TINY.mark(MASKED), hidden, *code(5, 2), hidden]
    assert made.answers.tolist() == [-1, -1, -1, 10, -1, -1, 11] and made.block == 3


def test_ids_are_apart() -> None:
    assert TINY.mark(WORDS) == 16 and TINY.mark(END) == TINY.size - 1 == 16 + MARKS - 1


def test_a_batch_gives_words_codes_and_the_end_their_own_numbers() -> None:
    made = [sequences.caption(TINY, [7], A), sequences.draw(TINY, [1, 2], B)]
    batch = batch_of(made, TINY, rows=[40, 41])
    assert batch.word_answers.tolist() == [7, TINY.words] and batch.code_answers.tolist() == B
    assert batch.word_rows.tolist() == [0, 0] and batch.code_rows.tolist() == [1] * 4
    assert batch.rows == [40, 41] and batch.visible is None
    moved = batch.to("cpu")
    assert moved.forms == ("caption", "draw") and torch.equal(moved.ids, batch.ids)


def every_form(seed: int = 0) -> list[DrawingSequence]:
    """One of each, and captions that read otherwise."""
    vocabulary, draws = drawer().vocabulary, np.random.default_rng(seed)
    first, second = codes_of(2, seed)
    features = torch.from_numpy(draws.normal(size=(2, 4, FEATURES))).float()
    hidden = hidden_places(len(first), draws)
    return [
        sequences.draw(vocabulary, [3, 4, 5], first),
        sequences.draw(vocabulary, [], second),
        sequences.caption(vocabulary, [6, 7], first),
        sequences.caption(vocabulary, [6, 7, 8, 9], None, features[0]),
        sequences.caption(vocabulary, [8], second, features[1]),
        sequences.edit(vocabulary, first, [9, 10], second),
        sequences.masked(vocabulary, [11], first, hidden),
        sequences.masked(vocabulary, [12, 13], second, hidden, source=first),
    ]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_and_order_change_no_logit(kind: str, attention: str) -> None:
    model, rows = drawer(kind, attention), every_form()
    with torch.no_grad():
        together = batch_of(rows[::-1], model.vocabulary)
        words, codes = model(together)
        for i, one in enumerate(rows[::-1]):
            alone_words, alone_codes = model(batch_of([one], model.vocabulary))
            assert torch.allclose(words[together.word_rows == i], alone_words, atol=1e-5)
            assert torch.allclose(codes[together.code_rows == i], alone_codes, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_later_code_changes_no_earlier_prediction(kind: str) -> None:
    model = drawer(kind)
    first, other = codes_of(2)
    changed = np.concatenate([first[:5], other[5:]])
    for form in ("draw", "edit"):
        made = [
            sequences.draw(model.vocabulary, [3, 4], codes)
            if form == "draw"
            else sequences.edit(model.vocabulary, other, [3, 4], codes)
            for codes in (first, changed)
        ]
        with torch.no_grad():  # beside a masked row, so that the mask of blocks is in use too
            hidden = sequences.masked(model.vocabulary, [1], first, np.ones(len(first), dtype=bool))
            _, codes = model(batch_of([*made, hidden], model.vocabulary))
        one, two = codes[: len(first)], codes[len(first) : 2 * len(first)]
        assert torch.allclose(one[:6], two[:6], atol=1e-6) and not torch.allclose(one[6:], two[6:], atol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_hidden_codes_do_not_leak_and_all_others_are_seen(kind: str) -> None:
    model = drawer(kind)
    codes, hidden = codes_of(1)[0], np.zeros(9, dtype=bool)
    hidden[[2, 6]] = True

    def logits(codes: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            return model(batch_of([sequences.masked(model.vocabulary, [3], codes, hidden)], model.vocabulary))[1]

    plain = logits(codes)
    for place in range(9):
        other = codes.copy()
        other[place] = (other[place] + 1) % 20
        assert torch.equal(logits(other), plain) == bool(hidden[place])  # those behind are seen, too


def test_features_and_codes_both_reach_the_words() -> None:
    model = drawer()
    codes, features = codes_of(2), torch.randn(2, 4, FEATURES)

    def logits(codes: np.ndarray | None, features: torch.Tensor | None) -> torch.Tensor:
        made = sequences.caption(model.vocabulary, [1], codes, features)
        with torch.no_grad():
            return model(batch_of([made], model.vocabulary))[0]

    plain = logits(codes[0], features[0])
    assert not torch.allclose(plain, logits(codes[1], features[0]), atol=1e-3)
    assert not torch.allclose(plain, logits(codes[0], features[1]), atol=1e-3)


@given(st.integers(1, 300), st.integers(0, 2**32))
def test_hidden_places_follow_the_cosine(places: int, seed: int) -> None:
    hidden = hidden_places(places, np.random.default_rng(seed))
    share = math.cos(math.pi / 2 * np.random.default_rng(seed).random())
    assert hidden.shape == (places,) and hidden.sum() == max(1, math.ceil(share * places))


def test_the_mean_share_of_hidden_codes_is_that_of_the_cosine() -> None:
    draws = np.random.default_rng(0)
    assert abs(np.mean([hidden_places(256, draws).mean() for _ in range(3000)]) - 2 / math.pi) < 0.02


def test_prompts_are_dropped_as_often_as_asked() -> None:
    draws = np.random.default_rng(0)
    assert not dropped([1], 1.0, draws) and dropped([1], 0.0, draws) == [1]
    assert abs(np.mean([not dropped([1], 0.1, draws) for _ in range(5000)]) - 0.1) < 0.02
