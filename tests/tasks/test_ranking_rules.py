"""Rules over attributes."""

from __future__ import annotations

import numpy as np
import pytest

from sensorium.errors import RecipeError
from sensorium.recipe import RuleRecipe
from sensorium.tasks.ranking_rules import check_rules, holds, matched, penalties

ITEMS = {"genres": ["Children's Comedy", "Horror", "Horror Comedy", None], "year": ["1995", "1931", "1999", None]}
YOUNG, OLD = {"age": ["12"]}, {"age": ["44"]}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, [1, 1, 1, 1]),
        ({"genres": "horror"}, [0, 1, 1, 0]),
        ({"genres": ["Children's", "Western"]}, [1, 0, 0, 0]),
        ({"year": "<1990"}, [0, 1, 0, 0]),
        ({"year": ">=1995", "genres": "Comedy"}, [1, 0, 1, 0]),
        ({"year": 1995}, [1, 0, 0, 0]),
        ({"genres": "Hor"}, [0, 0, 0, 0]),
        ({"genres": "<3"}, [0, 0, 0, 0]),
    ],
)
def test_conditions(condition: dict[str, object], expected: list[int]) -> None:
    assert holds(condition, ITEMS, 4).astype(int).tolist() == expected


def test_never_and_penalties_add_up_for_whom_they_are_meant() -> None:
    rules = [
        RuleRecipe(item={"genres": "Horror"}, user={"age": "<18"}),
        RuleRecipe(item={"genres": "Comedy"}, penalty=0.5),
        RuleRecipe(item={"year": "<1990"}, history={"genres": "Children's"}, penalty=2.0),
    ]
    none, found = np.array([], dtype=int), matched(rules, ITEMS, 4)
    assert penalties(found, YOUNG, none, 4).tolist() == [0.5, np.inf, np.inf, 0]
    assert penalties(found, OLD, none, 4).tolist() == [0.5, 0, 0.5, 0]
    assert penalties(found, OLD, np.array([0]), 4).tolist() == [0.5, 2.0, 0.5, 0]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (RuleRecipe(item={"genre": "Horror"}), "did you mean genres"),
        (RuleRecipe(item={"genres": "Western"}), "no row has Western; values: Children's, Comedy, Horror"),
        (RuleRecipe(item={"genres": "Horor"}), r"did you mean Horror\?"),
        (
            RuleRecipe(item={"genres": ["Comedy", "childrens"]}),
            r"genres: no row has childrens; did you mean Children's\?",
        ),
        (RuleRecipe(item={"year": 1996}), "no row has 1996; the nearest is 1995"),
        (
            RuleRecipe(item={"genres": "Horror"}, history={"year": "<1900"}),
            "history.year: no row has <1900; values: 1995",
        ),
        (RuleRecipe(item={"genres": "Horror"}, user={"agee": "<18"}), "did you mean age"),
    ],
)
def test_rules_that_mean_nothing_are_refused(rule: RuleRecipe, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_rules([rule], ITEMS, YOUNG)
