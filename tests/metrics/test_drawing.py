"""Figures of a drawing model against their formulas."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from sensorium.metrics.drawing import cider, statistics


def test_each_form_has_its_own_perplexity_and_rows_of_another_form_do_not_count() -> None:
    columns = {
        "draw_nats": np.array([8.0, 0.0, 4.0]), "draw_tokens": np.array([4, 0, 4]),
        "edit_nats": np.array([0.0, 6.0, 0.0]), "edit_tokens": np.array([0, 4, 0]),
        "caption_nats": np.array([2.0, 0.0, 1.0]), "caption_tokens": np.array([2, 0, 1]),
        "said": np.array(["Red apple.", "", "pear"], dtype=object),
    }  # fmt: skip
    found = {name: one.value for name, one in statistics(columns, ["red apple", "make it red", "plum"]).items()}
    assert found["draw_perplexity"] == pytest.approx(np.exp(12 / 8))
    assert found["edit_perplexity"] == pytest.approx(np.exp(6 / 4))
    assert found["caption_perplexity"] == pytest.approx(np.exp(3 / 3))
    assert found["exact_match"] == 0.5 and 0 < found["chrf"] < 100


def test_cider_is_ten_for_the_right_words_and_none_for_others_and_counts_rare_ones_more() -> None:
    """By hand for one word: tf-idf vectors of a caption equal to its reference have cosine 1 in every order it has."""
    right = ["dark red apple pie", "dark green leafy tree", "dark blue deep sea"]
    found = cider([right[0].upper() + "!", "dark purple stone wall", "bright blue deep lake"], right)
    assert found is not None and found[0] == pytest.approx(10) and found[1] == pytest.approx(0)
    assert 0 < found[2] < 10  # "dark" is in every reference and weighs nothing, "blue deep" is rare


def test_without_the_package_there_is_no_cider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.cider.cider", None)
    assert cider(["a"], ["a"]) is None


def test_what_was_not_learnt_has_no_figure() -> None:
    nothing = {f"{form}_{what}": np.zeros(2) for form in ("draw", "edit", "caption") for what in ("nats", "tokens")}
    assert statistics(nothing | {"said": np.array(["", ""], dtype=object)}, ["a", "b"]) == {}


def test_only_rows_that_were_drawn_count_in_what_is_told_of_drawings() -> None:
    columns = {
        "caption_tokens": np.zeros(4), "drawn": np.array([1, 0, 1, 1]), "retrieval_rank": np.array([1, 0, 5, 6]),
        "varied": np.array([0.5, 9.0, 0.1, 0.0]), "copied": np.array([0.9, 1.0, 0.89, 0.2]),
    }  # fmt: skip
    found = {name: one.value for name, one in statistics(columns, ["a", "b", "c", "d"]).items()}
    assert found == pytest.approx(
        {"retrieval@1": 1 / 3, "retrieval@5": 2 / 3, "drawing_diversity": 0.2, "copies": 1 / 3}
    )
