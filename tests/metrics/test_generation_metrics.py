"""Exact match, token F1, chrF and likelihood, against sacreBLEU's public scores and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from sensorium.metrics import generation as here

texts = st.text(alphabet="ab thé.?,A\n字", max_size=12)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=12)


@given(pairs)
def test_chrf_equal_to_sacrebleu(rows: list[tuple[str, str]]) -> None:
    said, right = [p for p, _ in rows], [r for _, r in rows]
    assert here.summary(said, right)["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, [right]).score)
    expected = [sacrebleu.sentence_chrf(p, [r]).score for p, r in rows]
    assert here.scores(said, right)["chrf"] == pytest.approx(expected)


@given(pairs)
def test_figures_are_finite_and_in_range(rows: list[tuple[str, str]]) -> None:
    found = here.summary([p for p, _ in rows], [r for _, r in rows])
    assert 0 <= found["exact_match"] <= 1 and 0 <= found["token_f1"] <= 1 and 0 <= found["chrf"] <= 100 + 1e-9
    assert found["exact_match"] <= found["token_f1"] + 1e-12 or found["exact_match"] <= 1


@given(texts)
def test_an_answer_equals_itself(text: str) -> None:
    assert here.scores([text], [text])["exact_match"][0] == 1
    assert here.token_f1(text, text) == 1


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("Red Fox.", "red  fox", True),
        ("STRASSE", "straße", True),
        ("cafe\u0301", "caf\u00e9", True),
        ("\tyes !\n", "Yes", True),
        ("?", "!", False),
        ("C#", "c", False),
        ("50 %", "50", False),
        ("", "", True),
        ("", "x", False),
    ],
)
def test_exact_match(one: str, other: str, equal: bool) -> None:
    assert here.scores([one], [other])["exact_match"][0] == equal


@pytest.mark.parametrize(
    ("said", "right", "f1"),
    [
        ("the red fox", "a red fox", 1.0),  # articles do not count
        ("red fox runs", "red fox", 0.8),
        ("red red", "red", 2 / 3),
        ("fox!", "Fox", 1.0),
        ("", "", 1.0),
        ("", "fox", 0.0),
        ("?", "!", 0.0),
    ],
)
def test_token_f1(said: str, right: str, f1: float) -> None:
    assert here.token_f1(said, right) == pytest.approx(f1)


def test_likelihood_is_a_mean_over_tokens_not_rows() -> None:
    found = here.summary(["a", "b"], ["a", "b"], [-1.0, -8.0], [1, 2])
    assert found["log_likelihood"] == pytest.approx(-3.0)
    assert found["perplexity"] == pytest.approx(np.exp(3.0))


def test_unknown_likelihoods_are_left_out() -> None:
    found = here.summary(["a", "b"], ["a", "b"], [-2.0, np.nan], [2, 5])
    assert found["log_likelihood"] == pytest.approx(-1.0)
    assert "log_likelihood" not in here.summary(["a"], ["a"], [np.nan], [0])
    assert "log_likelihood" not in here.summary(["a"], ["a"])


def test_hopeless_likelihood_stays_finite() -> None:
    assert np.isfinite(here.summary(["a"], ["a"], [-1e6], [1])["perplexity"])


def test_refuses_no_rows_and_other_lengths() -> None:
    with pytest.raises(ValueError, match="no rows"):
        here.summary([], [])
    with pytest.raises(ValueError, match="differ in length"):
        here.summary(["a"], ["a", "b"])
