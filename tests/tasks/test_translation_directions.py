"""Which direction is meant: tags in any case, what is left open, and one line for what is not known."""

from __future__ import annotations

import pytest

from sensorium.errors import DataError
from sensorium.tasks.translation_directions import chosen_direction

KNOWN = ["en-de", "en-zh-hant", "fr-de"]


def test_what_follows_from_the_rest() -> None:
    assert chosen_direction(["en-de"], None, None) == ("en", "de")
    assert chosen_direction(KNOWN, "EN", "zh_Hant") == ("en", "zh-hant")
    assert chosen_direction(KNOWN, "fr", None) == ("fr", "de")


@pytest.mark.parametrize(
    ("source", "target", "line"),
    [
        ("xx", "de", "this run does not translate from xx; known: en, fr"),
        ("en", "zh-hans", "into zh-hans; known: de, zh-hant; did you mean zh-hant?"),
        ("en", "", "into nothing; known: de, zh-hant"),
        ("fr", "zh-hant", "fr into zh-hant was not learnt; directions: en-de, en-zh-hant, fr-de"),
        ("en", None, "the direction is not clear; name the language"),
    ],
)
def test_one_line(source: str, target: str | None, line: str) -> None:
    with pytest.raises(DataError) as said:
        chosen_direction(KNOWN, source, target)
    assert line in str(said.value)
