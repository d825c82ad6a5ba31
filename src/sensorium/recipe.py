"""The typed description of a job: what DESIGN calls a recipe, as one pydantic model a part.

A recipe is small because every value has a default. Unknown keys are errors that name the near one.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sensorium.errors import RecipeError

ColumnType = Literal["text", "image", "audio", "number", "category", "time", "place"]
FusionKind = Literal["tokens", "cross_attention", "concat", "weighted", "attention"]
LATE_FUSIONS = ("concat", "weighted", "attention")


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
    format: Literal["auto", "csv", "jsonl", "parquet", "arrow", "imagefolder", "audiofolder", "chat", "parallel"] = (
        "auto"
    )
    inputs: dict[str, ColumnType] | None = Field(None, description="column: type; inferred where absent")
    target: str | None = Field(None, description="the column to predict")
    split: SplitRecipe = Field(default_factory=SplitRecipe)
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


class FusionRecipe(Part):
    """Which fusion, and where it enters the GPT."""

    kind: FusionKind = "tokens"
    from_layer: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="tokens, cross_attention: first layer that sees the modalities; auto: the first that is tuned",
    )
    tokens: int = Field(16, ge=1, le=1024, description="most positions that one picture or sound takes")
    every: int = Field(1, ge=1, description="cross_attention: a block before every n-th layer")
    width: int = Field(512, ge=8, description="late fusions: common width")
    heads: int = Field(4, ge=1, description="attention, cross_attention: heads")


class AdaptRecipe(Part):
    """How the GPT is tuned."""

    method: Literal[
        "full", "frozen", "lora", "dora", "rslora", "pissa", "ia3", "vera", "oft", "prefix", "prompt", "p_tuning"
    ] = "lora"
    rank: int = Field(8, ge=1, le=1024)
    alpha: float | None = Field(None, gt=0, description="LoRA's alpha; twice the rank by default")
    dropout: float = Field(0.0, ge=0, lt=1)
    layers: Literal["all", "last_half", "last_third"] | Annotated[int, Field(ge=1)] = Field(
        "last_third", description="which of the GPT's layers are tuned; a number counts from the end"
    )
    virtual_tokens: int = Field(16, ge=1, description="prefix, prompt, p_tuning")


def _fusion(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _adapt(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


class ModelRecipe(Part):
    """The pretrained parts and how they are joined."""

    backbone: str = Field("smollm2-135m-instruct", description="asset, folder or hub id of a causal LM")
    image: str | None = Field("efficientnet-lite0", description="asset, folder or hub id of a vision model")
    audio: str | None = Field("whisper-tiny.en", description="asset, folder or hub id of an audio model")
    text: str | None = Field(None, description="null: the GPT reads text itself; or a text encoder")
    speech: Literal["features", "recognition", "both"] = Field(
        "features",
        description="sounds join as features of the audio encoder, as the words recognised in them, or as both",
    )
    fusion: Annotated[FusionRecipe, BeforeValidator(_fusion)] = Field(default_factory=FusionRecipe)
    adapt: Annotated[AdaptRecipe, BeforeValidator(_adapt)] = Field(default_factory=AdaptRecipe)
    image_size: int = Field(128, ge=16, le=1024, description="pixels a side that the image encoder sees")
    tune_encoders: bool = Field(False, description="train the encoders too; their features are then not cached")
    feature_dropout: float = Field(0.1, ge=0, lt=1, description="dropout on encoder features in training")
    modality_dropout: float = Field(0.0, ge=0, lt=1, description="chance that a modality is withheld in training")
    max_text_tokens: int = Field(512, ge=8, description="most tokens that one row's text may take")


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


class Recipe(Part):
    """A whole job."""

    task: Literal["auto", "classify", "generate"] = "auto"
    data: DataRecipe
    model: ModelRecipe = Field(default_factory=ModelRecipe)
    training: TrainingRecipe = Field(default_factory=TrainingRecipe)
    evaluation: EvaluationRecipe = Field(default_factory=EvaluationRecipe)
    tracking: list[Literal["tensorboard", "wandb"]] = ["tensorboard"]
    output: str | None = Field(None, description="the run's folder; runs/<data>-<target> by default")

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        fusion, adapt = self.model.fusion, self.model.adapt
        if self.task == "generate" and fusion.kind in LATE_FUSIONS:
            raise ValueError(
                f"fusion {fusion.kind} gives one vector a row and cannot generate text; use tokens or cross_attention"
            )
        if adapt.method in ("prefix", "prompt", "p_tuning") and fusion.from_layer not in (0, "auto"):
            raise ValueError(
                f"adapt {adapt.method} and fusion.from_layer exclude each other; set from_layer: 0 or method: lora"
            )
        if self.training.augment and self.training.cache_features:
            raise ValueError(
                "augment changes pixels that cached features cannot see; set training.cache_features: false"
            )
        if self.model.tune_encoders and self.training.cache_features:
            raise ValueError("tuned encoders cannot be cached; set training.cache_features: false")
        if self.model.speech != "features":
            if self.model.audio is None:
                raise ValueError(f"speech {self.model.speech} needs a recogniser; set model.audio: whisper-tiny.en")
            if self.task == "classify":
                raise ValueError(
                    f"speech {self.model.speech} makes sounds words of a turn; set model.speech: features, or task: generate"
                )
            if self.training.augment:
                raise ValueError("augment changes sounds that were recognised already; set training.augment: false")
        if self.training.micro_batch_size and self.training.batch_size % self.training.micro_batch_size:
            raise ValueError("training.batch_size must be a multiple of training.micro_batch_size")
        return self

    # -- reading and writing ---------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path, overrides: list[str] | None = None) -> Recipe:
        """Read a YAML file, apply ``key.key=value`` overrides, and check it.

        Raises:
            RecipeError: the file is missing, is no YAML mapping, or a key or value is wrong.
        """
        path = Path(path)
        if path.is_dir() or not path.is_file():
            raise RecipeError("no such recipe file", where=str(path), mend="give the path of a YAML file")
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise RecipeError("not UTF-8 text", where=str(path), mend="save the recipe as UTF-8") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{path}:{mark.line + 1}" if mark else str(path)
            raise RecipeError(
                f"not valid YAML ({getattr(error, 'problem', error)})", where=where, mend="mend that line"
            ) from None
        except RecursionError:
            raise RecipeError(
                "nested too deeply", where=str(path), mend="a recipe is at most four levels deep"
            ) from None
        if not isinstance(raw, dict):
            raise RecipeError("not a mapping of keys to values", where=str(path), mend="start with 'task:' and 'data:'")
        return cls.parse(raw, where=str(path), overrides=overrides)

    @classmethod
    def parse(cls, raw: dict[str, Any], *, where: str = "recipe", overrides: list[str] | None = None) -> Recipe:
        """A checked recipe from plain values; one RecipeError line names the first wrong key."""
        for override in overrides or []:
            _override(raw, override)
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise _explain(error, cls, where) from None

    def dump(self) -> str:
        """YAML with every default written out; ``Recipe.parse(yaml.safe_load(dump()))`` equals the recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def difference(self, other: Recipe) -> list[str]:
        """``key: here → there`` for every value in which two recipes differ."""
        mine, theirs = _flat(self.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
        keys = sorted(set(mine) | set(theirs))
        return [f"{key}: {mine.get(key)!r} → {theirs.get(key)!r}" for key in keys if mine.get(key) != theirs.get(key)]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {
            k: v
            for key, inner in value.items()
            for k, v in _flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    return {prefix: value}


def _override(raw: dict[str, Any], text: str) -> None:
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


def _explain(error: ValidationError, model: type[BaseModel], where: str) -> RecipeError:
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
