"""Language: a Transformer made from nothing, translation between languages, and objectives to pretrain by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from sensorium.recipe.part import Part

Architecture = Literal["encoder_decoder", "gpt2", "llama", "bert"]
Objective = Literal["causal_lm", "masked_lm", "next_sentence", "contrastive", "matching"]


class ScratchRecipe(Part):
    """Sizes of a Transformer without pretrained weights, and of the tokenizer that is trained for it."""

    architecture: Architecture = "gpt2"
    width: int = Field(256, ge=8, le=4096)
    layers: int = Field(3, ge=1, le=48, description="of each side, where there are two")
    heads: int = Field(4, ge=1)
    feed_forward: int | None = Field(None, ge=8, description="inner width; four times the width by default")
    dropout: float = Field(0.1, ge=0, lt=1)
    vocabulary: int = Field(8000, ge=260, description="entries of the byte-level BPE, special ones included")
    window: int = Field(256, ge=8, description="most tokens of one sequence")

    @model_validator(mode="after")
    def _check(self) -> ScratchRecipe:
        if self.width % self.heads:
            raise ValueError("model.scratch.width must be a multiple of heads; change one")
        return self


class TranslationRecipe(Part):
    """Which languages into which, and how translations are looked for."""

    directions: list[str] = Field(default_factory=list, description="as en-de; all pairs of the data by default")
    picture: str | None = Field(None, description="column with a picture of what is said")
    mask: Literal["none", "words"] = Field("none", description="training: what is hidden from the source")
    mask_share: float = Field(0.0, ge=0, le=1, description="share of training sources with hidden words")
    beam: int = Field(5, ge=1, le=64)
    length_penalty: float = Field(1.0, ge=0, le=4, description="score = log P / length ** penalty")
    average: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights that translate; 0: the last")

    @field_validator("directions")
    @classmethod
    def _pairs(cls, value: list[str]) -> list[str]:
        for pair in value:
            source, _, target = pair.partition("-")
            if not source or not target or source == target:
                raise ValueError(f"{pair!r} is no direction; write it as en-de")
        return value


class MaskingRecipe(Part):
    """What masked language modelling hides (Devlin et al. 2019)."""

    unit: Literal["token", "whole_word", "span"] = "token"
    share: float = Field(0.15, gt=0, lt=1)
    span: float = Field(3.0, ge=1, description="span: mean length in tokens, geometric")


class PretrainingRecipe(Part):
    """Losses and their weights, and what is read beside the data."""

    objectives: dict[Objective, float] = Field({"causal_lm": 1.0}, description="objective: weight")
    documents: Literal["blank_line", "line"] = Field("blank_line", description="what parts documents in text files")
    masking: MaskingRecipe = Field(default_factory=MaskingRecipe)
    replay: str | None = Field(None, description="text that a pretrained model keeps reading, against forgetting")
    replay_share: float = Field(0.0, ge=0, lt=1, description="share of windows that come from it")

    @model_validator(mode="after")
    def _check(self) -> PretrainingRecipe:
        if not self.objectives or any(weight <= 0 for weight in self.objectives.values()):
            raise ValueError("pretraining.objectives needs at least one, and weights above 0")
        if bool(self.replay) != (self.replay_share > 0):
            raise ValueError("pretraining.replay and replay_share go together; give both or none")
        return self
