"""Beam search against trying everything, against itself in another order, and against the plain greedy loop."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.models.language.beam import Found, translate
from sensorium.models.language.translator import Translator
from tests.models.small_translator import END, PAD, TAG, log_probability, memory, sentences, translator

WORDS = [3, 4, 5, 6]


def search(model: Translator, rows: list[list[int]], limits: list[int], **options) -> list[Found]:  # type: ignore[no-untyped-def]
    tags = torch.full((len(rows),), TAG)
    return translate(model, memory(model, *rows), tags, limits, end=END, forbidden=[PAD, TAG], **options)


def exhaustive(model: Translator, source: list[int], limit: int, penalty: float) -> tuple[float, list[int]]:
    """The best of all translations of at most ``limit`` tokens, the end counted; forbidden words share no probability."""
    best = (-float("inf"), [0])
    for length in range(limit):
        for words in itertools.product(WORDS, repeat=length):
            score = allowed_log_probability(model, source, [*words, END]) / (length + 1) ** penalty
            best = max(best, (score, list(words)))
    return best


def allowed_log_probability(model: Translator, source: list[int], target: list[int]) -> float:

    ids, real = sentences([TAG, *target[:-1]])
    with torch.no_grad():
        states, table = model(*sentences(source), ids, real)
    logits = states @ table.T
    logits[:, [PAD, TAG]] = -torch.inf
    logs = logits.log_softmax(-1)
    return float(logs.detach()[torch.arange(len(target)), torch.tensor(target)].sum())


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_wide_enough_finds_the_best_of_all(seed: int, penalty: float) -> None:
    model, source = translator(seed=seed), [TAG, 3, 6, 4, 1]
    (found,) = search(model, [source], [4], beam=200, length_penalty=penalty)
    score, tokens = exhaustive(model, source, 4, penalty)
    assert found.tokens == tokens and found.score == pytest.approx(score, abs=1e-5) and found.ended


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), min_size=1, max_size=6),
    st.integers(1, 5),
    st.randoms(),
)
def test_order_and_company_do_not_matter(rows: list[list[int]], beam: int, random) -> None:  # type: ignore[no-untyped-def]
    model = translator(seed=1)
    sources = [[TAG, *row, END] for row in rows]
    limits = [len(row) + 3 for row in rows]
    together = search(model, sources, limits, beam=beam)
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = search(model, [sources[i] for i in order], [limits[i] for i in order], beam=beam)
    for place, i in enumerate(order):
        (alone,) = search(model, [sources[i]], [limits[i]], beam=beam)
        assert together[i].tokens == shuffled[place].tokens == alone.tokens
        assert together[i].score == pytest.approx(alone.score, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    model, source = translator(seed=seed), [TAG, 5, 5, 3, 1]
    words: list[int] = []
    while len(words) < 8:
        best = max([*WORDS, END], key=lambda word: log_probability(model, source, [*words, word]))
        if best == END:
            break
        words.append(best)
    (found,) = search(model, [source], [8], beam=1)
    assert found.tokens == words and found.ended == (len(words) < 8)


def test_scores_are_those_of_the_pass_of_training() -> None:
    model, source = translator(seed=2), [TAG, 4, 4, 1]
    (found,) = search(model, [source], [9], beam=4, length_penalty=1.0)
    said = [*found.tokens, END]
    assert found.score == pytest.approx(allowed_log_probability(model, source, said) / len(said), abs=1e-5)


def test_a_higher_penalty_never_shortens() -> None:
    model, source = translator(seed=3), [TAG, 4, 6, 5, 1]
    lengths = [len(search(model, [source], [5], beam=300, length_penalty=p)[0].tokens) for p in (0.0, 0.5, 1.0, 2.0)]
    assert lengths == sorted(lengths)


def test_forbidden_tokens_never_come_and_limits_hold() -> None:
    model = translator(seed=4)
    for found in search(model, [[TAG, w, 1] for w in WORDS], [3, 1, 5, 2], beam=3):
        assert not {PAD, TAG, END} & set(found.tokens)
    assert [len(f.tokens) <= n for f, n in zip(search(model, [[TAG, w, 1] for w in WORDS], [3, 1, 5, 2]), [3, 1, 5, 2])]


def test_nothing_to_translate() -> None:
    model = translator()
    empty = torch.empty(0, 3, dtype=torch.long)
    found = translate(model, model.encode(empty, empty.bool()), torch.empty(0, dtype=torch.long), [], end=END)
    assert found == []
