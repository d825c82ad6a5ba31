"""Text: what cleaning removes, keeps and never does twice."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.modalities import generator
from sensorium.modalities.text import CORRUPTIONS, augment, clean, corrupt

anything = st.text(st.characters(), max_size=80)  # surrogates included


@pytest.mark.parametrize(
    ("dirty", "cleaned"),
    [
        ("plain", "plain"),
        ("e\u0301te\u0301", "été"),
        ("Å", "Å"),
        ("a\x00b\x07c\x7fd\x9fe", "abcde"),
        ("tab\tline\nend", "tab\tline\nend"),
        ("one\r\ntwo\rthree\x85four\u2028five\x0csix", "one\ntwo\nthree\nfour\nfive\nsix"),
        ("lone \ud83d surrogate", "lone  surrogate"),
        ("\ufeffmark", "mark"),
        ("ev\u202elive\u202c", "evlive\u202c"),
        ("non\ufffe\U0001ffffchars", "nonchars"),
        ("שלום\u200f!", "שלום\u200f!"),
        ("\u2067עברית\u2069", "\u2067עברית\u2069"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("  kept  ", "  kept  "),
        ("e\x00\u0301", "é"),
        ("", ""),
    ],
)
def test_clean(dirty: str, cleaned: str) -> None:
    assert clean(dirty) == cleaned


@given(anything)
def test_clean_is_idempotent_normal_and_encodable(text: str) -> None:
    found = clean(text)
    assert clean(found) == found
    assert unicodedata.is_normalized("NFC", found)
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in found if c not in "\t\n")
    found.encode("utf-8")


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp", "Co")), max_size=40))
def test_clean_is_nfc_of_ordinary_text(text: str) -> None:
    text = text.replace("\ufeff", "").replace("\u202d", "").replace("\u202e", "")
    assert clean(text) == unicodedata.normalize("NFC", text)


def test_piles_of_marks_take_no_time() -> None:
    begun = time.perf_counter()
    found = clean("a" + "\u0301\u0327" * 50_000)
    assert time.perf_counter() - begun < 1
    assert len(found) <= 31
    assert clean(found) == found


@given(anything, st.integers(0, 2**32))
def test_augment_follows_its_generator_and_leaves_a_word(text: str, seed: int) -> None:
    one, two = (augment(text, generator(seed, 0, 0), drop=0.9, typos=0.3) for _ in range(2))
    assert one == two
    assert bool(one.split()) or len(text.split()) < 2 or any(len(word) == 1 for word in text.split())


def test_augment_is_mild_and_varies() -> None:
    text = "the quick brown fox jumps over the lazy dog and runs far away into the woods again"
    views = [augment(text, generator(0, 0, i)) for i in range(200)]
    assert len(set(views)) > 50
    kept = [len(set(view.split()) & set(text.split())) / len(set(text.split())) for view in views]
    assert sum(kept) / len(kept) > 0.8
    assert augment(text, generator(0, 0, 0), drop=0, typos=0) == text


@given(anything, st.sampled_from(sorted(CORRUPTIONS)), st.integers(1, 5))
def test_corrupt_follows_its_generator(text: str, kind: str, severity: int) -> None:
    one, two = (corrupt(text, kind, severity, generator(1, 0, 0)) for _ in range(2))
    assert isinstance(one, str) and one == two


def test_corruptions_do_what_they_say() -> None:
    text = "Peace and code on a copy of space " * 30
    assert corrupt(text, "case", 5, generator(0, 0, 0)) == text.swapcase()
    alike = corrupt(text, "lookalikes", 5, generator(0, 0, 0))
    assert len(alike) == len(text) and "e" not in alike and "е" in alike
    fewer = [len(corrupt(text, "word_drop", s, generator(0, 0, 0)).split()) for s in range(1, 6)]
    assert fewer == sorted(fewer, reverse=True) and fewer[0] < len(text.split()) and fewer[-1] > 30
    wrong = [
        sum(a != b for a, b in zip(corrupt(text, "typos", s, generator(0, 0, 0)).split(), text.split())) for s in (1, 5)
    ]
    assert 0 < wrong[0] < wrong[1]


def test_unknown_corruption() -> None:
    with pytest.raises(ValueError, match="kinds: typos"):
        corrupt("a", "rot13", 1, generator(0, 0, 0))
