"""Translation metrics against sacreBLEU's own corpus scores, on the whole and on every choice of sentences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF, TER

from sensorium.evaluation.intervals import paired_bootstrap
from sensorium.metrics.translation import bleu, signatures, statistics, tokens_of, translation_scores

REFERENCES = [
    "Ein Mann in einem blauen Hemd steht auf einer Leiter.",
    "Zwei Hunde spielen im Schnee, nahe beim Haus.",
    "Eine Frau liest ein Buch auf einer Bank im Park.",
    "Kinder.",
]
HYPOTHESES = [
    "ein Mann in einem blauen Hemd steht auf der Leiter.",
    "Zwei Hunde rennen im Schnee nahe beim Haus .",
    "Eine Frau liest auf einer Bank ein Buch im Park.",
    "",
]
WORDS = st.lists(st.sampled_from(["a", "b", "B", "c.", ",", "Hund", "犬", "שלום"]), max_size=7).map(" ".join)


def of_sacrebleu(said: list[str], right: list[str]) -> dict[str, float]:
    return {
        "bleu": BLEU().corpus_score(said, [right]).score,
        "bleu_lowercase": BLEU(lowercase=True).corpus_score(said, [right]).score,
        "chrf": CHRF().corpus_score(said, [right]).score,
        "ter": TER().corpus_score(said, [right]).score,
    }


def test_equal_to_sacrebleu() -> None:
    found = translation_scores(HYPOTHESES, REFERENCES)
    assert found.pop("exact_match") == 0
    assert found == pytest.approx(of_sacrebleu(HYPOTHESES, REFERENCES), abs=1e-9)
    assert found["bleu"] == bleu(HYPOTHESES, REFERENCES) < found["bleu_lowercase"] < 100


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6), st.data())
def test_every_choice_of_sentences_equals_sacrebleu(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1, max_size=8))
    said, right = ([pair[side] for pair in pairs] for side in (0, 1))
    counts = np.bincount(chosen, minlength=len(pairs)).astype(float)
    some = [[texts[i] for i in chosen] for texts in (said, right)]
    for name, wanted in of_sacrebleu(*some).items():
        statistic = statistics(said, right)[name]
        assert float(statistic.combine(counts @ statistic.rows)) == pytest.approx(wanted, abs=1e-9), name


def test_languages_without_spaces_are_cut_into_characters() -> None:
    assert [tokens_of(tag) for tag in ("de", None, "zh-Hant", "ja", "th")] == ["13a", "13a", "zh", "char", "char"]
    assert (
        bleu(["走る人と犬"], ["走る人と猫"], language="ja") > 50 > bleu(["走る人と犬"], ["走る人と猫"], language="de")
    )
    assert "tok:char" in signatures("ja")["bleu"] and "case:lc" in signatures()["bleu_lowercase"]
    assert signatures()["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_paired_bootstrap_of_bleu() -> None:
    better = paired_bootstrap(
        statistics(HYPOTHESES * 30, REFERENCES * 30)["bleu"], statistics(REFERENCES * 30, REFERENCES * 30)["bleu"]
    )
    assert 0 < better.low < better.value < 100 and better.p < 0.01


def test_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="no rows"):
        translation_scores([], [])
    with pytest.raises(ValueError, match="differ in length"):
        translation_scores(["a"], [])
