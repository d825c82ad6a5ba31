"""Where rows come from, what their columns mean and how they are parted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from sensorium.recipe.interactions import InteractionsRecipe
from sensorium.recipe.part import ColumnType, Part


class SplitRecipe(Part):
    """How rows are parted. Shares are of all rows; ``column`` and ``by_time`` replace random drawing."""

    validation: float = Field(0.1, ge=0, lt=1, description="share of rows chosen on")
    test: float = Field(0.2, ge=0, lt=1, description="share of rows reported on")
    group_by: str | None = Field(None, description="rows with equal values in this column stay together")
    stratify: bool = Field(False, description="keep the target's proportions in every part")
    by_time: str | None = Field(None, description="column of times: oldest rows train, newest test")
    column: str | None = Field(None, description="column whose values are train, validation (val, valid, dev) and test")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> SplitRecipe:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave no rows to train on; make their sum less than 1")
        if sum(map(bool, (self.column, self.by_time, self.group_by))) > 1:
            raise ValueError("column, by_time and group_by exclude each other; keep one")
        return self


class DataRecipe(Part):
    """Where rows come from and what their columns mean."""

    source: str | list[str] = Field(description="a file, folder, glob, hub id, or a bundled data set's name")
    format: Literal[
        "auto", "csv", "jsonl", "parquet", "arrow", "imagefolder", "audiofolder", "chat", "parallel", "interactions"
    ] = "auto"
    inputs: dict[str, ColumnType] | None = Field(None, description="column: type; inferred where absent")
    target: str | None = Field(None, description="the column to predict")
    split: SplitRecipe = Field(default_factory=SplitRecipe)
    interactions: InteractionsRecipe | None = Field(None, description="of format interactions: columns and tables")
    bad_rows: Literal["quarantine", "stop"] = "quarantine"
    root: str | None = Field(
        None, description="folder that file paths in the data may point into; the data file's own by default"
    )
    max_rows: int | None = Field(None, ge=1, description="use a fixed random choice of this many rows")

    @field_validator("source")
    @classmethod
    def _named(cls, value: str | list[str]) -> str | list[str]:
        if not value or not all(
            isinstance(item, str) and item.strip() for item in ([value] if isinstance(value, str) else value)
        ):
            raise ValueError("names nothing; give a file, a folder or a bundled name")
        return value

    @field_validator("target")
    @classmethod
    def _a_column(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("names no column; give one, or leave it out")
        return value
