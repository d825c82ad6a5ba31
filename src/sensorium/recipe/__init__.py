"""The typed description of a job: what DESIGN calls a recipe, as one pydantic model a part.

A recipe is small because every value has a default. Unknown keys are errors that name the near one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from sensorium.errors import RecipeError
from sensorium.recipe.data import DataRecipe, SplitRecipe
from sensorium.recipe.drawing import DrawingRecipe, TokenizerRecipe
from sensorium.recipe.interactions import InteractionSplitRecipe, InteractionsRecipe, RecommenderRecipe, RuleRecipe
from sensorium.recipe.language import MaskingRecipe, PretrainingRecipe, ScratchRecipe, TranslationRecipe
from sensorium.recipe.model import LATE_FUSIONS, AdaptRecipe, FusionKind, FusionRecipe, ModelRecipe
from sensorium.recipe.part import ColumnType, Part
from sensorium.recipe.reading import explain, flat, override
from sensorium.recipe.training import EvaluationRecipe, TrainingRecipe

__all__ = [
    "LATE_FUSIONS",
    "AdaptRecipe",
    "ColumnType",
    "DataRecipe",
    "DrawingRecipe",
    "EvaluationRecipe",
    "FusionKind",
    "FusionRecipe",
    "InteractionSplitRecipe",
    "InteractionsRecipe",
    "MaskingRecipe",
    "ModelRecipe",
    "Part",
    "PretrainingRecipe",
    "Recipe",
    "RecommenderRecipe",
    "RuleRecipe",
    "ScratchRecipe",
    "SplitRecipe",
    "TokenizerRecipe",
    "TrainingRecipe",
    "TranslationRecipe",
]


class Recipe(Part):
    """A whole job."""

    task: Literal["auto", "classify", "generate", "recommend", "pretrain", "tokenize", "draw"] = "auto"
    data: DataRecipe
    model: ModelRecipe = Field(default_factory=ModelRecipe)
    recommender: RecommenderRecipe | None = Field(None, description="of task recommend")
    translation: TranslationRecipe | None = Field(None, description="of task generate from parallel text")
    pretraining: PretrainingRecipe | None = Field(None, description="of task pretrain")
    tokenizer: TokenizerRecipe | None = Field(None, description="of task tokenize")
    drawing: DrawingRecipe | None = Field(None, description="of task draw")
    training: TrainingRecipe = Field(default_factory=TrainingRecipe)
    evaluation: EvaluationRecipe = Field(default_factory=EvaluationRecipe)
    tracking: list[Literal["tensorboard", "wandb"]] = Field(["tensorboard"])
    output: str | None = Field(None, description="the run's folder; runs/<data>-<target> by default")

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        fusion, adapt = self.model.fusion, self.model.adapt
        if self.recommender is not None and self.task != "recommend":
            raise ValueError("recommender belongs to another task; set task: recommend, or leave it out")
        if self.translation is not None and self.task not in ("auto", "generate"):
            raise ValueError("translation belongs to another task; set task: generate, or leave it out")
        if self.pretraining is not None and self.task != "pretrain":
            raise ValueError("pretraining belongs to another task; set task: pretrain, or leave it out")
        if self.tokenizer is not None and self.task != "tokenize":
            raise ValueError("tokenizer belongs to another task; set task: tokenize, or leave it out")
        if (self.drawing is not None) != (self.task == "draw"):
            raise ValueError("drawing and task: draw go together; give both or none")
        if self.data.interactions is not None and self.task != "recommend":
            raise ValueError("data.interactions belong to another task; set task: recommend, or leave them out")
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
        for change in overrides or []:
            override(raw, change)
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise explain(error, cls, where) from None

    def dump(self) -> str:
        """YAML with every default written out; ``Recipe.parse(yaml.safe_load(dump()))`` equals the recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def difference(self, other: Recipe) -> list[str]:
        """``key: here → there`` for every value in which two recipes differ."""
        mine, theirs = flat(self.model_dump(mode="json")), flat(other.model_dump(mode="json"))
        keys = sorted(set(mine) | set(theirs))
        return [f"{key}: {mine.get(key)!r} → {theirs.get(key)!r}" for key in keys if mine.get(key) != theirs.get(key)]
