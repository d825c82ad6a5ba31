"""``metrics.json`` of translations: shape, per-direction figures that are sacreBLEU's, pairing, notes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sacrebleu.metrics import BLEU, CHRF

from sensorium.errors import DataError
from sensorium.evaluation.schema import validated
from sensorium.evaluation.translation_table import TranslationMeasured, language_into, translation_metrics

DE = ["Ein Mann steht auf einer Leiter.", "Zwei Hunde spielen im tiefen Schnee.", "Eine Frau liest heute ein Buch."]
FR = ["Un homme est sur une échelle.", "Deux chiens jouent dans la neige.", "Une femme lit un livre."]


def measured() -> TranslationMeasured:
    wanted = DE * 20 + FR * 20
    nearly = [text if i % 3 else text.replace(" ", " x ", 1) for i, text in enumerate(wanted)]
    poorly = [text.split()[0] + " ." for text in wanted]
    return TranslationMeasured(
        directions=["en-de"] * 60 + ["en-fr"] * 60,
        sources=["A man."] * 120,
        references=wanted,
        systems={"after": nearly, "before": [""] * 120, "word_for_word": poorly},
        clusters=[i % 30 for i in range(120)],
    )


def test_figures_and_shape() -> None:
    cases = measured()
    found = validated(translation_metrics(cases, n_resamples=200, notes=["first"]))
    assert found["kind"] == "translation" and found["primary"] == "bleu" and found["notes"][0] == "first"
    german = found["by"]["direction"]["en-de"]
    said, right = cases.systems["after"][:60], cases.references[:60]
    assert german["after"]["bleu"]["value"] == pytest.approx(BLEU().corpus_score(said, [right]).score)
    assert german["after"]["chrf"]["value"] == pytest.approx(CHRF().corpus_score(said, [right]).score)
    assert german["against"]["word_for_word"]["bleu"]["low"] > 0
    assert found["before"]["bleu"]["value"] == 0 and found["difference"]["bleu"]["p"] < 0.02
    assert any("pool the n-grams of 2 directions" in note for note in found["notes"])
    assert any("30 clusters" in note and "nrefs:1|case:mixed" in found["notes"][1] for note in found["notes"])


def test_phrases_are_led_by_chrf() -> None:
    cases = TranslationMeasured(["en-ja"] * 2, ["dog", "cat"], ["犬", "猫"], {"after": ["犬", "犬"]})
    found = validated(translation_metrics(cases, n_resamples=100))
    assert found["primary"] == "chrf" and "before" not in found
    assert "tok:char" in found["notes"][0]
    assert any("Only 2 sentences" in note for note in found["notes"])


def test_columns_of_different_length() -> None:
    cases = measured()
    with pytest.raises(DataError, match="translations of after: 1 for 120 sentences"):
        translation_metrics(replace(cases, systems={"after": ["x"]}))
    with pytest.raises(DataError, match="no sentence"):
        translation_metrics(TranslationMeasured([], [], [], {"after": []}))


def test_a_tag_may_hold_a_hyphen() -> None:
    assert language_into("en-zh-hant") == "zh-hant"
