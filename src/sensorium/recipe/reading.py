"""A recipe's text: overrides, and what is wrong with it in one line."""

from __future__ import annotations

import difflib
import json
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sensorium.errors import RecipeError


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {
            k: v
            for key, inner in value.items()
            for k, v in flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    return {prefix: value}


def override(raw: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"{text!r} is not key=value", where="--set", mend="write for example --set training.epochs=1")
    try:
        parsed = yaml.safe_load(value)
        if isinstance(parsed, str):  # YAML reads 5e-4 as text
            parsed = float(parsed) if _is_number(parsed) else parsed
    except yaml.YAMLError:
        parsed = value
    *parents, last = key.strip().split(".")
    here = raw
    for parent in parents:
        inner = here.get(parent)
        if isinstance(inner, str) and parent in ("fusion", "adapt"):  # the short form grows into the long one
            inner = {"kind" if parent == "fusion" else "method": inner}
        here[parent] = inner if isinstance(inner, dict) else {}
        here = here[parent]
    here[last] = parsed


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def explain(error: ValidationError, model: type[BaseModel], where: str) -> RecipeError:
    """The first validation error as one line that names the key and, for an unknown one, the near key."""
    first = error.errors()[0]
    kinds = ("function-", "dict", "literal", "constrained", "str", "int", "float", "list[")  # members of a union
    path = [str(part) for part in first["loc"] if not str(part).startswith(kinds)]
    key = ".".join(path) or "recipe"
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        near = difflib.get_close_matches(path[-1], known, n=1)
        mend = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
        return RecipeError(f"unknown key {key}", where=where, mend=mend)
    if first["type"] == "missing":
        return RecipeError(f"{key} is missing", where=where, mend=f"add {key}: …")
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = "" if isinstance(given, dict) or given is None else f" (given: {json.dumps(given, default=str)[:80]})"
    cause, _, mend = message.partition("; ")
    place = "" if key == "recipe" else f"{key}: "
    return RecipeError(f"{place}{cause}{shown}", where=where, mend=mend or "correct the value")


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        inner = getattr(field, "annotation", None)
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return list(model.model_fields)
