"""Word for word by IBM model 1, against a plain computation of the same model."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.evaluation.translation_baselines import align, copies, learn_dictionary, word_for_word, words

PAIRS = [
    ("the house", "das Haus"),
    ("the book", "das Buch"),
    ("a book", "ein Buch"),
    ("A house.", "Ein Haus."),
    ("a dog", "ein Hund"),
    ("the house.", "das Haus."),
    ("the dog, a book.", "der Hund, ein Buch."),
]


def model_one(pairs: list[tuple[list[int], list[int]]], rounds: int) -> dict[tuple[int, int], float]:
    """t(f | e) as Brown et al. write it, sentence by sentence; e = -1 is the empty word."""
    likely: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(rounds):
        counts: dict[tuple[int, int], float] = defaultdict(float)
        totals: dict[int, float] = defaultdict(float)
        for source, target in pairs:
            for f in target:
                norm = sum(likely[e, f] for e in [-1, *source])
                for e in [-1, *source]:
                    share = likely[e, f] / norm
                    counts[e, f] += share
                    totals[e] += share
        likely = defaultdict(float, {(e, f): count / totals[e] for (e, f), count in counts.items()})
    return likely


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 4), max_size=4), st.lists(st.integers(0, 3), min_size=1, max_size=4)),
        min_size=1,
        max_size=6,
    )
)
def test_alignment_is_model_one(pairs: list[tuple[list[int], list[int]]]) -> None:
    sources, targets = ([np.array(pair[side], dtype=np.int64) for pair in pairs] for side in (0, 1))
    likely, e, f = align(sources, targets, source_words=5, rounds=4)
    wanted = model_one(pairs, 4)
    assert len(likely) == len(wanted)
    for t, source, target in zip(likely, e, f):
        assert t == pytest.approx(wanted[source - 1, target], abs=1e-9)


def test_a_dictionary_from_pairs() -> None:
    found = learn_dictionary([a for a, _ in PAIRS], [b for _, b in PAIRS], "en-de")
    assert found["book"] == "Buch" and found["dog"] == "Hund" and found["the"] == "das"
    assert word_for_word(["The dog, a book."], found, "en-de") == ["Das Hund, ein Buch."]
    assert word_for_word(["zebra"], found, "en-de") == ["zebra"]
    assert copies(["zebra"]) == ["zebra"]


def test_languages_without_spaces() -> None:
    found = learn_dictionary(["red dog", "red cat", "dog"], ["赤犬", "赤猫", "犬"], "en-ja")
    assert word_for_word(["red cat"], found, "en-ja") == ["赤猫"]
    back = learn_dictionary(["赤犬", "赤猫", "犬"], ["red dog", "red cat", "dog"], "ja-en")
    assert word_for_word(["赤猫"], back, "ja-en") == ["red cat"]


def test_nothing_to_learn_from() -> None:
    assert learn_dictionary([], [], "en-de") == {}
    assert learn_dictionary([""], ["Haus"], "en-de") == {}
    assert word_for_word([""], {}, "en-de") == [""]


@given(st.text(max_size=30))
def test_words_lose_no_character(text: str) -> None:
    assert "".join(words(text, "en")) == "".join(text.split())
