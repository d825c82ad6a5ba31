"""Rules over attributes: items for which something holds are kept from users for whom something holds, or cost them score."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.errors import RecipeError
from sensorium.recipe import RuleRecipe

Columns = Mapping[str, Sequence[Any]]
SHOWN = 8  # values of a column, where none is near the one that was asked for
SEPARATORS = re.compile(r"[\s,;|]+")  # between a cell's words
_COMPARED = re.compile(r"\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)\s*")


def holds(condition: Mapping[str, Any], columns: Columns, rows: int) -> np.ndarray:
    """(rows,) bool: whether every column of ``condition`` has one of its values; all where it is empty.

    A value is equal to the cell or one of its words, whatever the case; ``<18``, ``>=4`` compare numbers.
    """
    found = np.ones(rows, dtype=bool)
    for column, values in condition.items():
        wanted = values if isinstance(values, list) else [values]
        found &= np.array([any(_is(cell, value) for value in wanted) for cell in columns[column]], dtype=bool)
    return found


@dataclass(frozen=True)
class Matched:
    """A rule, the items that it is about and those of a history that call for it: (items,) bool each, once for all users."""

    rule: RuleRecipe
    items: np.ndarray
    history: np.ndarray


def matched(rules: Sequence[RuleRecipe], items: Columns, count: int) -> list[Matched]:
    """Which of ``count`` items each rule is about; ``items``: column: a cell an item."""
    return [Matched(rule, holds(rule.item, items, count), holds(rule.history, items, count)) for rule in rules]


def penalties(rules: Sequence[Matched], users: Columns, history: np.ndarray, count: int) -> np.ndarray:
    """(items,) to take off the scores of one user; inf for never.

    Args:
        users: column: the one user's cell in a list.
        history: indices of the items that the user has met; count: how many items there are.
    """
    off = np.zeros(count)
    for one in rules:
        if not holds(one.rule.user, users, 1)[0]:
            continue
        if one.rule.history and not one.history[history].any():
            continue
        off[one.items] += np.inf if one.rule.penalty == "never" else one.rule.penalty
    return off


def check_rules(rules: Sequence[RuleRecipe], items: Columns, users: Columns) -> None:
    """RecipeError where a rule names a column that is not there, or a value that no row has."""
    for place, rule in enumerate(rules):
        for part, columns in (("item", items), ("user", users), ("history", items)):
            for column, values in getattr(rule, part).items():
                where = f"recommender.rules[{place}].{part}.{column}"
                if column not in columns:
                    near = difflib.get_close_matches(column, columns, n=1)
                    mend = f"did you mean {near[0]}?" if near else f"columns: {', '.join(columns) or 'none'}"
                    raise RecipeError(f"there is no column {column}", where=where, mend=mend)
                for value in values if isinstance(values, list) else [values]:
                    if not any(_is(cell, value) for cell in columns[column]):
                        raise RecipeError(f"no row has {value}", where=where, mend=_near(value, columns[column]))


def _near(value: Any, cells: Sequence[Any]) -> str:
    """The value or word of a column that ``value`` may have been meant to be; some of the column's where none is near."""
    whole = dict.fromkeys(str(cell) for cell in cells if cell is not None)
    words = dict.fromkeys(word for cell in whole for word in SEPARATORS.split(cell) if word)
    try:
        return f"the nearest is {min(whole, key=lambda one: abs(float(one) - float(value)))}"
    except (ValueError, TypeError):  # words, not numbers; or none at all
        pass
    folded = {one.casefold(): one for one in (*whole, *words)}
    near = difflib.get_close_matches(str(value).casefold(), folded, n=1)
    if near:
        return f"did you mean {folded[near[0]]}?"
    some = list(words if len(words) <= len(whole) else whole)
    return f"values: {', '.join(some[:SHOWN])}{', …' if len(some) > SHOWN else ''}" if some else "the column is empty"


def _is(cell: Any, value: Any) -> bool:
    if cell is None:
        return False
    compared = _COMPARED.fullmatch(str(value))
    if compared:
        try:
            number, bound = float(cell), float(compared[2])
        except ValueError:
            return False
        return {"<": number < bound, "<=": number <= bound, ">": number > bound, ">=": number >= bound}[compared[1]]
    text, wanted = str(cell).casefold(), str(value).casefold()
    return text == wanted or wanted in SEPARATORS.split(text)
