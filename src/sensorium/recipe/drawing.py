"""Drawing: what a GPT learns of pictures as codes between its words."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sensorium.recipe.part import Part

Form = Literal["draw", "caption", "edit", "masked"]


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
