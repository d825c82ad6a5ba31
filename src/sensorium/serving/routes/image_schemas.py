"""What is asked of, and told about, pictures that a run draws: OpenAI's form, as pydantic models.

Fields that a run cannot heed (``style``, ``quality: high``) are refused by name; those that ask for what happens anyway
(``output_format: png``, ``background: opaque``) are passed over.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sensorium.serving.routes.schemas import Name, Request, Tag, without_nothing

# 32,000 is OpenAI's; what the model itself reads is counted in tokens.
Prompt = Annotated[str, Field(min_length=1, max_length=32_000)]
Count = Annotated[int | None, Field(ge=1, le=10, description="Pictures.")]
# JavaScript keeps whole numbers up to here.
Seed = Annotated[int | None, Field(ge=0, lt=2**53, description="Of the first picture; the next has the next number.")]
Size = Annotated[str | None, Field(max_length=20, pattern=r"^(auto|\d{1,5}x\d{1,5})$")]
Form_ = Literal["b64_json"] | None


class Wishes(BaseModel):
    """What every way of asking for pictures may say; ``seed`` is an extension: the same seed draws the same picture."""

    model: Name | None = None
    n: Count = None
    size: Size = None
    response_format: Form_ = None
    seed: Seed = None
    user: Tag = None
    safety_identifier: Tag = None


class GenerationRequest(Wishes, Request):
    """``/v1/images/generations``."""

    prompt: Prompt


class PictureForm(Wishes):
    """A form with a picture: the file under ``image``, or under ``image[]`` as clients name lists."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    files: ClassVar[int] = 17  # OpenAI's 16 and a mask; so that one too many is told in our own words

    image: Annotated[list[UploadFile], Field(default_factory=list, max_length=16)]
    images: Annotated[list[UploadFile], Field(default_factory=list, max_length=16, alias="image[]")]

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, raw: Any) -> Any:
        return without_nothing(cls, raw)

    @property
    def pictures(self) -> list[UploadFile]:
        return [*self.image, *self.images]


class VariationForm(PictureForm):
    """``/v1/images/variations``."""


class EditForm(PictureForm):
    """``/v1/images/edits``: where ``mask`` is transparent, or white if it has no transparency, the picture may change."""

    prompt: Prompt
    mask: UploadFile | None = None


# -- what is answered ------------------------------------------------------------------------------


class PictureTokens(BaseModel):
    image_tokens: int
    text_tokens: int


class PictureUsage(BaseModel):
    """Tokens: of texts, and the codes of pictures."""

    input_tokens: int
    input_tokens_details: PictureTokens
    output_tokens: int
    output_tokens_details: PictureTokens
    total_tokens: int


class DrawnPicture(BaseModel):
    """A PNG in base64; ``seed`` (an extension) draws it again."""

    b64_json: str
    seed: int


class DrawnPictures(BaseModel):
    """OpenAI's answer; ``size`` is that of the pictures, as ``64x64``."""

    created: int
    data: list[DrawnPicture]
    background: Literal["opaque"] = "opaque"
    output_format: Literal["png"] = "png"
    size: str
    usage: PictureUsage
