"""The pretrained parts, how they are joined and how they are tuned."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sensorium.recipe.language import ScratchRecipe
from sensorium.recipe.part import Part

FusionKind = Literal["tokens", "cross_attention", "concat", "weighted", "attention"]
LATE_FUSIONS = ("concat", "weighted", "attention")


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
    scratch: ScratchRecipe | None = Field(None, description="a Transformer made from nothing in the backbone's place")
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
