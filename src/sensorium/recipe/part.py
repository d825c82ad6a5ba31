"""What every part of a recipe is: closed to unknown keys, checked on assignment."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

ColumnType = Literal["text", "image", "audio", "number", "category", "time", "place"]


class Part(BaseModel):
    """A part of a recipe: closed to unknown keys, checked on assignment."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's true is no number, and no text may hold a NUL."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and kind is not bool:
            raise ValueError("a yes or no stands where another value belongs; correct the value")
        if isinstance(value, str) and "\x00" in value:
            raise ValueError("holds a NUL character; remove it")
        return value
