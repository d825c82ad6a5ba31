"""The probing protocol: what is hidden, which picture is wrong, and what is left out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import DataError
from sensorium.tasks.hidden_words import MARK
from sensorium.tasks.translation_probes import PICTURES, disguises, german_nouns, other_concepts, probe

SOURCES = ["a red house", "the dog sleeps", "two brown dogs", "house"] * 10
TAGS = ["en"] * len(SOURCES)
NOUNS = {"en": ["house", "dog", "dogs"]}


def test_disguises() -> None:
    found, left_out = disguises(SOURCES, TAGS, NOUNS)
    assert list(found) == ["nothing", "colours", "nouns", "half", "everything"] and not left_out
    assert list(found["nothing"].sources) == SOURCES
    assert set(found["colours"].sources) == {f"a {MARK} house", f"two {MARK} dogs"}
    assert found["colours"].rows.tolist()[:4] == [0, 2, 4, 6]
    assert set(found["nouns"].sources) == {f"a red {MARK}", f"the {MARK} sleeps", f"two brown {MARK}", MARK}
    assert set(found["everything"].sources) == {MARK} and len(found["everything"].rows) == 40
    assert "house" not in {SOURCES[i] for i in found["half"].rows.tolist()}  # of one word there is no half


def test_what_hides_nothing_is_left_out_and_said() -> None:
    found, left_out = disguises(["走る人", "猫"] * 15, ["ja"] * 30, {})
    assert list(found) == ["nothing", "everything"]
    assert any("colours hidden: left out, as only 0 of 30" in line for line in left_out)


def test_every_disguise_is_translated_with_three_pictures() -> None:
    asked = []

    def translate(sources, rows, pictures):  # type: ignore[no-untyped-def]
        asked.append(pictures)
        return [f"{row}:{None if pictures is None else pictures[i]}" for i, row in enumerate(rows)]

    concepts = [i // 2 for i in range(40)]
    found = probe(translate, SOURCES, TAGS, concepts, NOUNS)
    assert all(set(said) == set(PICTURES) for said in found.said.values())
    assert found.said["colours"]["right"][1] == "2:2" and found.said["colours"]["none"][1] == "2:None"
    for rows, said in ((found.rows[hidden], said) for hidden, said in found.said.items()):
        assert len(said["wrong"]) == len(rows)
        for told in said["wrong"]:
            row, picture = map(int, told.split(":"))
            assert concepts[row] != concepts[picture]


@given(st.lists(st.integers(0, 6), min_size=2, max_size=30), st.integers(0, 100))
def test_a_wrong_picture_is_of_another_concept(concepts: list[int], seed: int) -> None:
    most = max(Counter(concepts).values())
    if 2 * most > len(concepts):
        with pytest.raises(DataError, match="too few concepts"):
            other_concepts(concepts, seed)
        return
    found = other_concepts(concepts, seed)
    assert sorted(found.tolist()) == list(range(len(concepts)))
    assert all(concepts[i] != concepts[j] for i, j in enumerate(found.tolist()))
    assert np.array_equal(found, other_concepts(concepts, seed))


def test_german_nouns() -> None:
    assert german_nouns(["Ein Mann schläft.", "Zwei große Hunde, USA"]) == {"mann", "hunde"}
    assert german_nouns(["Hund", "laufende Person", "grüner Apfel"]) == {"hund", "person", "apfel"}
    assert german_nouns(["", "— —"]) == set()
