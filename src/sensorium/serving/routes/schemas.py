"""What clients send, as pydantic models: they check requests and describe them in OpenAPI.

Unknown fields are refused by name. Values are strict: "3" is no number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

Name = Annotated[str, Field(min_length=1, max_length=200)]
Words = Annotated[str, Field(max_length=1_000_000)]
Reference = Annotated[str, Field(min_length=1, max_length=40_000_000)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]
Choice = Annotated[str, Field(min_length=1, max_length=500)]
Tag = Annotated[str | None, Field(max_length=512)]

# Fields of OpenAI's that say nothing where they have one of these values, as some clients always send them.
HARMLESS: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "background": (False, "auto", "opaque"),
    "truncation": ("disabled",),
    "include": ([],),
    "stream": (False, "false"),
    "partial_images": (0, "0"),
    "output_format": ("png", "auto"),
    "output_compression": (100, "100"),
    "quality": ("auto", "standard"),
    "moderation": ("auto",),
}


def without_nothing(model: type[BaseModel], raw: Any) -> Any:
    """A body without its nulls and without fields that ``model`` does not know and that ask for nothing."""
    if not isinstance(raw, dict):
        return raw
    return {
        name: value
        for name, value in raw.items()
        if not (
            value is None
            or (name not in model.model_fields and any(value == nothing for nothing in HARMLESS.get(name, ())))
        )
    }


class Request(BaseModel):
    """A request's body: unset and null are the same, and fields that ask for nothing are passed over."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, raw: Any) -> Any:
        return without_nothing(cls, raw)


class Part(BaseModel):
    """A part of a message's content."""

    model_config = ConfigDict(extra="forbid", strict=True)


# -- content ---------------------------------------------------------------------------------------


class ImageAddress(Part):
    """A picture's address: ``data:image/png;base64,…``, or https where the server allows it."""

    url: Reference
    detail: Literal["auto", "low", "high"] | None = None


class Sound(Part):
    """A sound in base64."""

    data: Reference
    format: Annotated[str, Field(max_length=20, pattern="^[A-Za-z0-9.+-]+$")] = "wav"


class TextContent(Part):
    type: Literal["text"]
    text: Words


class ImageContent(Part):
    type: Literal["image_url"]
    image_url: Annotated[ImageAddress, BeforeValidator(lambda raw: {"url": raw} if isinstance(raw, str) else raw)] = (
        Field(description="An object with url, or the address itself.")
    )


class AudioContent(Part):
    type: Literal["input_audio"]
    input_audio: Sound


Content = Annotated[TextContent | ImageContent | AudioContent, Field(discriminator="type")]
Contents = Annotated[list[Content], Field(min_length=1, max_length=256)]


class ChatMessage(Part):
    """A turn: only the user shows pictures and sounds."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Words | Contents
    name: Tag = None

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, raw: Any) -> Any:
        """What a client sends back of our own answers holds empty fields."""
        if not isinstance(raw, dict):
            return raw
        idle = ("refusal", "audio", "tool_calls", "function_call", "annotations", "reasoning_content")
        return {name: value for name, value in raw.items() if value or name not in idle}

    @model_validator(mode="after")
    def _only_the_user_shows(self) -> ChatMessage:
        if self.role == "user" or isinstance(self.content, str):
            return self
        if any(not isinstance(part, TextContent) for part in self.content):
            raise ValueError("only the user shows pictures and sounds")
        return self


# -- the answer's form -----------------------------------------------------------------------------


class PlainFormat(Part):
    type: Literal["text"]


class ObjectFormat(Part):
    type: Literal["json_object"]


class NamedSchema(Part):
    name: Annotated[str, Field(min_length=1, max_length=64, pattern="^[A-Za-z0-9_-]+$")]
    schema_: dict[str, JsonValue] = Field(alias="schema")
    description: Tag = None
    strict: bool | None = None


class SchemaFormat(Part):
    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[PlainFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")]


class StreamOptions(Part):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class ChatRequest(Request):
    """``/v1/chat/completions``; ``guided_choice`` is an extension: the answer is one of these texts."""

    model: Name
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    n: Annotated[int | None, Field(ge=1, le=128)] = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    response_format: ResponseFormat | None = None
    guided_choice: Annotated[list[Choice] | None, Field(min_length=1, max_length=1000)] = None
    user: Tag = None
    metadata: Annotated[dict[str, str] | None, Field(max_length=16)] = None
    store: bool | None = None
    service_tier: Tag = None
    safety_identifier: Tag = None
    prompt_cache_key: Tag = None
    parallel_tool_calls: bool | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> ChatRequest:
        if not any(message.role == "user" for message in self.messages):
            raise ValueError("messages need one of the user")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        if self.guided_choice and self.response_format and self.response_format.type != "text":
            raise ValueError("guided_choice and response_format exclude each other")
        return self


# -- vectors and classes ---------------------------------------------------------------------------


class EmbeddingRequest(Request):
    """``/v1/embeddings``: texts as OpenAI has them, or (an extension) lists of content parts, one vector each."""

    model: Name
    input: (
        Annotated[str, Field(min_length=1, max_length=1_000_000)]
        | Annotated[
            list[Annotated[str, Field(min_length=1, max_length=1_000_000)] | Contents],
            Field(min_length=1, max_length=256),
        ]
    )
    encoding_format: Literal["float", "base64"] | None = None
    user: Tag = None


Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Cell = Annotated[str, Field(max_length=40_000_000)] | Whole | float | bool | Sound | None


class ClassifyRequest(Request):
    """``/v1/classify``: a row, or rows, as objects of the run's input columns; pictures and sounds as addresses."""

    model: Name
    input: (
        Annotated[dict[str, Cell], Field(max_length=1000)]
        | Annotated[list[Annotated[dict[str, Cell], Field(max_length=1000)]], Field(min_length=1, max_length=256)]
    )
    user: Tag = None


# -- translations ----------------------------------------------------------------------------------

LanguageTag = Annotated[str, Field(min_length=1, max_length=40)]
Sentence = Annotated[str, Field(max_length=20_000)]


class TranslateRequest(Request):
    """``/v1/translate``: texts, their language and the one wanted, as tags; a picture of what they say as an address."""

    model: Name
    input: Sentence | Annotated[list[Sentence], Field(min_length=1, max_length=256)]
    from_: Annotated[LanguageTag | None, Field(alias="from")] = None
    to: LanguageTag | None = None
    image: Reference | None = None
    user: Tag = None


# -- sounds ----------------------------------------------------------------------------------------


class TranscriptionForm(BaseModel):
    """``/v1/audio/transcriptions``, a form with a file."""

    model_config = ConfigDict(extra="forbid")

    file: UploadFile
    model: Name
    language: Annotated[str | None, Field(pattern="^[a-z]{2}$")] = None
    prompt: Annotated[str | None, Field(max_length=2000)] = None
    response_format: Literal["json", "text", "verbose_json"] = "json"
    temperature: Annotated[float, Field(ge=0, le=1)] = 0.0
