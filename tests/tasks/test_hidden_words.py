"""What is hidden cannot be read, what is not stays, and the same generator hides the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sensorium.tasks.hidden_words import MARK, bare, hide_all, hide_for_training, hide_share, hide_words

TEXTS = st.lists(st.sampled_from(["ein", "Rotes", "rot,", "«Haus»", "走る人", "שלום", "—"]), max_size=8).map(" ".join)


def test_listed_words_are_hidden_with_their_punctuation() -> None:
    assert hide_words("A Red, red dog is not reddish.", ["red"]) == f"A {MARK} dog is not reddish."
    assert hide_words("no colour", ["red"]) == "no colour"
    assert hide_all("a red dog") == MARK and hide_all("  ") == "  "


@given(TEXTS, st.integers(0, 2**32), st.floats(0, 1))
def test_a_share(text: str, seed: int, share: float) -> None:
    words = text.split()
    found = hide_share(text, share, np.random.default_rng(seed))
    assert found == hide_share(text, share, np.random.default_rng(seed))
    kept = [word for word in found.split() if word != MARK]
    assert len(kept) == (len(words) - max(1, round(share * len(words))) if words else 0)
    places = iter(words)
    assert all(word in places for word in kept)  # in their order
    assert f"{MARK} {MARK}" not in found
    assert (MARK in found) == bool(words)


def test_training_hides_all_half_the_time() -> None:
    found = [hide_for_training("a b c d e f", np.random.default_rng([0, i])) for i in range(1000)]
    assert 450 < sum(text == MARK for text in found) < 640  # a drawn share may round up to all
    assert len(set(found)) > 20 and all(MARK in text for text in found)


def test_bare() -> None:
    assert [bare(word) for word in ("«Haus»,", "—", "l'eau", "走る人。")] == ["Haus", "—", "l'eau", "走る人"]
