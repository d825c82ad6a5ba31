"""What is told of a model's drawings: places by likeness, shares of codes, and columns over all rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sensorium.jobs.drawing.drawn_measures import Gallery, notes, ranks, shared
from sensorium.jobs.drawing.lessons import Lesson


@given(st.integers(0, 10**6), st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_ranks_are_those_of_scipys_cosines(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    made, real = rng.normal(size=(count, 6)), rng.normal(size=(count, 6))
    middle, spread = real.mean(0), real.std(0)
    apart = cdist((made - middle) / spread, (real - middle) / spread, "cosine")
    expected = [1 + int((row < row[i] - 1e-6).sum()) for i, row in enumerate(apart)]
    assert ranks(made, real).tolist() == expected
    assert ranks(real, real).tolist() == [1] * count


def test_what_looks_the_same_stands_at_the_same_place() -> None:
    real = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert ranks(real[[1, 0, 2]], real).tolist() == [1, 1, 1]


def test_the_share_is_that_of_one_training_picture() -> None:
    known = np.array([[1, 2, 3, 4], [1, 9, 9, 9]])
    assert shared(np.array([[1, 2, 3, 9], [5, 9, 3, 5], [1, 2, 3, 4]]), known).tolist() == [0.75, 0.25, 1.0]
    assert shared(np.array([[1, 2]]), np.zeros((0, 2))).tolist() == [0.0]


def gallery(draws: bool = True) -> Gallery:
    codes, source = np.array([[1, 2, 3, 4]]), np.array([[4, 4, 4, 4]])
    test = [Lesson(7, [1], codes), Lesson(8, [2], codes, source), Lesson(9, [3], codes + 1)]
    train = [Lesson(0, [1], codes), Lesson(1, [1], codes, source)]
    return Gallery.of(train, test, ["apple", "make it red"], None, None, draws)  # type: ignore[arg-type]


def test_edits_are_not_drawn_and_rows_that_are_not_hold_nothing() -> None:
    mine = gallery()
    assert mine.places.tolist() == [0, 2] and mine.names == ["apple"]
    whole = mine.whole({"copied": np.array([0.5, 1.0]), "summary": np.ones((2, 3))})
    assert whole["drawn"].tolist() == [1, 0, 1] and whole["copied"].tolist() == [0.5, 0.0, 1.0]
    assert whole["summary"].sum(1).tolist() == [3.0, 0.0, 3.0]
    (said,) = notes(mine, {"after": whole}, "none")
    assert "2 held-out prompts were drawn" in said and "50.0 % do" in said


def test_where_drawing_is_not_taught_nothing_is_drawn() -> None:
    mine = gallery(draws=False)
    assert not len(mine.places) and notes(mine, {}, "none") == []
    assert mine.whole({})["drawn"].tolist() == [0, 0, 0]


def test_most_rows_are_at_equal_distances() -> None:
    codes = np.array([[1, 2]])
    many = [Lesson(i, [1], codes) for i in range(1000)]
    mine = Gallery.of(many, many, ["x"] * 1000, None, None, True)  # type: ignore[arg-type]
    assert len(mine.places) == 256 and mine.places[0] == 0 and mine.places[-1] == 999
    assert set(np.diff(mine.places).tolist()) <= {3, 4}
