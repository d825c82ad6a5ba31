"""A stranger's JSON: bounded in depth and in the number of values before it becomes Python objects."""

from __future__ import annotations

from typing import Any

import pydantic_core

from sensorium.serving.errors import invalid


def parse(body: bytes, *, values: int, depth: int) -> Any:
    """The value of a JSON body.

    Args:
        values: commas and opening brackets at the most, those within strings included: a value of two bytes takes
            fifty and more in Python, so that a short body could fill the memory.
        depth: of lists and objects within each other.

    Raises:
        ApiError: more of them, or no JSON (400).
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > values:
        raise invalid(f"the body holds more than {values:,} values", code="too_many_values")
    try:
        # jiter, which this is, stops at 200 levels by itself.
        value = pydantic_core.from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError:
        raise invalid("the body is no valid JSON", code="invalid_json") from None
    if deeper_than(value, depth):
        raise invalid(f"the body is nested deeper than {depth} levels", code="too_deep")
    return value


def deeper_than(value: Any, depth: int) -> bool:
    """Whether lists and objects stand within each other more than ``depth`` deep; without recursion."""
    level = [value]
    for _ in range(depth):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(inner for inner in item.values() if isinstance(inner, dict | list))
            elif isinstance(item, list):
                below.extend(inner for inner in item if isinstance(inner, dict | list))
        if not below:
            return False
        level = below
    return True
