"""``/v1/responses``: what clients send and get, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, JsonValue, model_validator

from sensorium.serving.routes.schemas import Name, Part, Reference, Request, Sound, Tag, Words

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class InputText(Part):
    type: Literal["input_text", "output_text", "text"]
    text: Words
    annotations: list[JsonValue] | None = None
    logprobs: list[JsonValue] | None = None


class InputImage(Part):
    type: Literal["input_image"]
    image_url: Reference
    detail: Literal["auto", "low", "high"] | None = None


class InputAudio(Part):
    type: Literal["input_audio"]
    input_audio: Sound


InputContent = Annotated[InputText | InputImage | InputAudio, Field(discriminator="type")]
InputContents = Annotated[list[InputContent], Field(min_length=1, max_length=256)]


class InputMessage(Part):
    """A turn; an answer of ours may be sent back as it came."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Words | InputContents
    id: Tag = None
    status: Tag = None


class PlainText(Part):
    type: Literal["text"]


class AnyObject(Part):
    type: Literal["json_object"]


class OfSchema(Part):
    type: Literal["json_schema"]
    name: Annotated[str, Field(min_length=1, max_length=64, pattern="^[A-Za-z0-9_-]+$")]
    schema_: dict[str, JsonValue] = Field(alias="schema")
    description: Tag = None
    strict: bool | None = None


class TextForm(Part):
    format: Annotated[PlainText | AnyObject | OfSchema, Field(discriminator="type")] | None = None


class ResponsesRequest(Request):
    """``/v1/responses``. Nothing is stored: a conversation is sent whole each time."""

    model: Name
    input: (
        Annotated[str, Field(min_length=1, max_length=1_000_000)]
        | Annotated[list[InputMessage], Field(min_length=1, max_length=1000)]
    )
    instructions: Annotated[str | None, Field(max_length=1_000_000)] = None
    max_output_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    text: TextForm | None = None
    stream: bool | None = None
    user: Tag = None
    metadata: Annotated[dict[str, str] | None, Field(max_length=16)] = None
    store: bool | None = None
    service_tier: Tag = None
    safety_identifier: Tag = None
    prompt_cache_key: Tag = None
    parallel_tool_calls: bool | None = None

    @model_validator(mode="after")
    def _somebody_asks(self) -> ResponsesRequest:
        if not isinstance(self.input, str) and not any(message.role == "user" for message in self.input):
            raise ValueError("input needs a message of the user")
        return self


# -- answers ---------------------------------------------------------------------------------------


class OutputText(BaseModel):
    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = Field(default_factory=list)


class OutputMessage(BaseModel):
    id: str
    type: Literal["message"] = "message"
    status: Status
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class InputDetails(BaseModel):
    cached_tokens: int


class OutputDetails(BaseModel):
    reasoning_tokens: int = 0


class ResponseUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class Incomplete(BaseModel):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponseError(BaseModel):
    code: str
    message: str


class ResponseObject(BaseModel):
    """OpenAI's response object, with what this server does not do said as none."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status
    error: ResponseError | None = None
    incomplete_details: Incomplete | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    model: str
    output: list[OutputMessage] = Field(default_factory=list)
    parallel_tool_calls: bool = False
    previous_response_id: None = None
    store: Literal[False] = False
    temperature: float | None = None
    tool_choice: Literal["none"] = "none"
    tools: list[Any] = Field(default_factory=list)
    top_p: float | None = None
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    metadata: dict[str, str] = Field(default_factory=dict)


class Event(BaseModel):
    """A streamed event; each kind sets the fields that it has."""

    type: str
    sequence_number: int
    response: ResponseObject | None = None
    output_index: int | None = None
    content_index: int | None = None
    item_id: str | None = None
    item: OutputMessage | None = None
    part: OutputText | None = None
    delta: str | None = None
    text: str | None = None
    logprobs: list[Any] | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    error: ResponseError | None = None
