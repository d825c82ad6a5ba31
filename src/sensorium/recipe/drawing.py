"""Drawing: a tokenizer that turns pictures into codes, and what a GPT learns of them between its words."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from sensorium.recipe.part import Part

Form = Literal["draw", "caption", "edit", "masked"]


class TokenizerRecipe(Part):
    """A tokenizer of pictures: its shapes (see ``PictureTokenizerConfig``) and the losses it learns by."""

    picture: str = Field("picture", description="column of pictures")
    size: int = Field(64, ge=8, le=512, description="pixels a side")
    codes: int = Field(64, ge=4, le=1024, description="codes a picture, a square number")
    levels: list[int] = Field([8, 8, 8, 8], min_length=1, max_length=8, description="of a code's channels")
    patch: int = Field(4, ge=1, le=32, description="pixels a side of the patches that it starts from")
    widths: list[int] = Field([64, 128], min_length=1, description="channels at each resolution, the finest first")
    blocks: list[int] = Field([2, 4], min_length=1, description="residual blocks at each resolution")
    absolute: float = Field(1.0, ge=0, description="weight of the mean absolute error")
    squared: float = Field(2.0, ge=0, description="weight of the mean squared error")
    perceptual: float = Field(0.2, ge=0, description="weight of the distance between model.image's features")
    adversarial: float = Field(0.0, ge=0, description="weight of what a critic tells real pictures by; 0: no critic")
    augment: bool = Field(True, description="mirror, move and recolour training pictures")
    average: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights that are kept; 0: the last")

    @model_validator(mode="after")
    def _check(self) -> TokenizerRecipe:
        side = math.isqrt(self.codes)
        halvings = self.size // (side * self.patch)
        if side * side != self.codes or halvings & (halvings - 1) or halvings * side * self.patch != self.size:
            raise ValueError(
                f"tokenizer.codes {self.codes} in patches of {self.patch} do not fit {self.size} pixels a side; "
                "make size a power of two times patch times the square root of codes"
            )
        if min(self.levels) < 2 or math.prod(self.levels) > 2**16:
            raise ValueError("tokenizer.levels needs two a channel, and 65536 codes at the most; change them")
        if min(self.widths) < 1 or min(self.blocks) < 0:
            raise ValueError("tokenizer.widths and blocks must be positive; correct them")
        if not self.absolute + self.squared + self.perceptual > 0:
            raise ValueError("tokenizer has nothing to learn by; give absolute, squared or perceptual a weight")
        return self


class DrawingRecipe(Part):
    """Which columns are drawn, captioned and edited, in which shares, and how pictures are drawn afterwards."""

    tokenizer: str = Field(description="a run of task tokenize, or the folder of a picture tokenizer")
    prompt: str = Field("prompt", description="column of words: what is drawn, or how the source is changed")
    picture: str = Field("picture", description="column of pictures that are learnt")
    source: str | None = Field(None, description="column of pictures that edits start from; empty cells: no edit")
    forms: dict[Form, float] = Field(
        {"draw": 1.0, "caption": 0.5, "edit": 1.0, "masked": 0.5},
        description="form: how often it is learnt, among those that a row allows",
    )
    drop_words: float = Field(0.1, ge=0, lt=1, description="share of prompts left out, for guidance")
    placings: int = Field(
        1, ge=1, le=25, description="of each training picture that are learnt: as it is, and moved by a pixel or two"
    )
    read: Literal["codes", "features", "both"] = Field(
        "codes", description="what captions are read from: picture codes, the image encoder's features, or both"
    )
    average: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights that draw; 0: the last")
    guidance: float = Field(3.0, ge=0, le=20, description="how far drawing follows the words, where nothing is asked")
    temperature: float = Field(1.0, gt=0, le=10)

    @model_validator(mode="after")
    def _check(self) -> DrawingRecipe:
        if not self.tokenizer.strip():
            raise ValueError("tokenizer names nothing; give a run of task tokenize")
        if not any(weight > 0 for weight in self.forms.values()) or any(weight < 0 for weight in self.forms.values()):
            raise ValueError("drawing.forms needs one weight above 0, and none below; correct the weights")
        if len({self.prompt, self.picture, self.source}) < 3:
            raise ValueError("prompt, picture and source are one column; name three")
        return self
