"""How long, how fast, from which seed; and how the model is measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sensorium.recipe.part import Part


class TrainingRecipe(Part):
    """How long, how fast, and from which seed."""

    epochs: float = Field(3, gt=0)
    max_steps: int | None = Field(None, ge=1, description="optimiser steps at the most")
    max_minutes: float | None = Field(
        None, gt=0, description="epochs are cut so that training fits this time, by measured speed"
    )
    batch_size: int = Field(16, ge=1, description="sequences in one optimiser step, over all processes")
    micro_batch_size: int | None = Field(None, ge=1, description="sequences in one forward pass; batch_size by default")
    learning_rate: float = Field(5e-4, gt=0)
    head_learning_rate: float | None = Field(
        None, gt=0, description="projectors, fusion and heads; learning_rate by default"
    )
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1, description="share of steps")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip_norm: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    augment: bool = Field(False, description="augment pictures and sounds in training; excludes cached features")
    share_media: bool = Field(True, description="rows about the same picture or sound share its tokens in one sequence")
    cache_features: bool = Field(True, description="compute what is frozen once")
    cache_gigabytes: float = Field(8.0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    patience: int | None = Field(2, ge=1, description="validations without gain before stopping; null: never")
    keep: Literal["best", "last"] = Field("best", description="weights: with the best validation figure, or the last")
    checkpoint_every: int | None = Field(
        None, ge=1, description="steps between checkpoints; by epoch and every five minutes by default"
    )
    workers: int = Field(0, ge=0, description="processes that decode media ahead")
    seed: int = Field(0, ge=0)


class EvaluationRecipe(Part):
    """How the model is measured, before and after."""

    max_rows: int = Field(5000, ge=1, description="fixed rows of the test split at the most")
    validation_rows: int = Field(2000, ge=1, description="fixed rows of the validation split at the most")
    batch_size: int = Field(32, ge=1)
    max_choices: int = Field(
        100, ge=2, description="answers with at most so many values are chosen among, by likelihood"
    )
    max_new_tokens: int = Field(32, ge=1)
    bootstrap: int = Field(1000, ge=100, description="resamples for the 95 % intervals")
    baselines: bool = True
