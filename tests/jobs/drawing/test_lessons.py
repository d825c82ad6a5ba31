"""What a row teaches: the placings of its pictures, in all of a lesson's codes alike, and losses by group."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.jobs.drawing.lessons import Lesson, TrainingLessons, placings_of
from sensorium.jobs.drawing.measures import losses
from sensorium.models.drawing.vocabulary import Vocabulary
from sensorium.recipe import DrawingRecipe


def test_placings_differ_and_the_first_moves_nothing() -> None:
    assert placings_of(1, 3) == [(0, 0)]
    nine = placings_of(9, 3)
    assert nine[0] == (0, 0) and len(set(nine)) == 9 and nine == placings_of(9, 3) != placings_of(9, 4)
    assert sorted(placings_of(25, 0)) == [(down, across) for down in range(-2, 3) for across in range(-2, 3)]


def test_source_and_picture_of_an_edit_are_moved_alike() -> None:
    """Placing p has the codes p everywhere: what a sequence holds is of one placing, and all placings come."""
    vocabulary = Vocabulary(10, 8, 2)
    placed = np.repeat(np.arange(3)[:, None], 4, axis=1)
    lesson = Lesson(0, [1, 2], placed, placed + 4)
    asked = DrawingRecipe(tokenizer="t", source="source", forms={"edit": 1.0}, drop_words=0.0)
    units = TrainingLessons([lesson], vocabulary, asked, seed=0)
    seen = set()
    for epoch in range(40):
        _, sequence = units[epoch, 0]
        codes = [int(id_) - 10 for id_ in sequence.ids if 10 <= id_ < 18]
        placing = codes[0] - 4
        assert codes[:4] == [placing + 4] * 4 and set(codes[4:]) == {placing}
        seen.add(placing)
        assert np.array_equal(units[epoch, 0][1].ids, sequence.ids)
    assert seen == {0, 1, 2}
    assert lesson.codes.tolist() == [0] * 4  # what is measured is the picture as it is


def test_losses_of_groups_are_weighted_by_their_tokens() -> None:
    found = {f"{form}_{what}": np.zeros(3) for form in ("draw", "edit", "caption") for what in ("nats", "tokens")}
    found["draw_nats"][:] = [4.0, 1.0, 0.0]
    found["draw_tokens"][:] = [2, 2, 0]
    found["edit_nats"][2], found["edit_tokens"][2] = 9.0, 3
    told = losses(found, {"held_out": ["concept", "combination", "concept"], "empty": [None, "", None]})
    assert told == pytest.approx({"loss": 2.0, "loss_held_out_concept": 13 / 5, "loss_held_out_combination": 0.5})
