"""What is answered, as pydantic models in OpenAI's form; written with ``exclude_unset``, so that null is said on purpose."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sensorium.serving.protocols import Finish


class ModelInfo(BaseModel):
    """A model; ``routes`` (an extension): what may be asked of it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "sensorium"
    routes: list[str]


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelInfo]


class Health(BaseModel):
    status: Literal["ok", "draining", "starting"]


# -- chat ------------------------------------------------------------------------------------------


class LikelyToken(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(LikelyToken):
    top_logprobs: list[LikelyToken] = Field(default_factory=list)


class Logprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None = None


class PromptDetails(BaseModel):
    cached_tokens: int = 0


class Usage(BaseModel):
    """Tokens; of a prompt that is asked for several answers, counted once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails = PromptDetails()


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: int
    message: AnswerMessage
    logprobs: Logprobs | None = None
    finish_reason: Finish


class Completion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChoiceDelta(BaseModel):
    index: int
    delta: Delta
    logprobs: Logprobs | None = None
    finish_reason: Finish | None = None


class Chunk(BaseModel):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChoiceDelta]
    usage: Usage | None = None


# -- vectors, classes, transcripts -----------------------------------------------------------------


class Embedding(BaseModel):
    """A vector: floats, or their little-endian float32 bytes in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Classification(BaseModel):
    """A row's class with the probability of each, or a number where the run regresses."""

    index: int
    label: str | None = None
    value: float | None = None
    probabilities: dict[str, float] | None = None


class Classifications(BaseModel):
    object: Literal["list"] = "list"
    data: list[Classification]
    model: str


class Translation(BaseModel):
    index: int
    text: str


class Translations(BaseModel):
    """Translations in the order of the texts, and the language tags that they are from and in."""

    model_config = ConfigDict(populate_by_name=True)

    object: Literal["list"] = "list"
    data: list[Translation]
    from_: str = Field(alias="from")
    to: str
    model: str


class Segment(BaseModel):
    id: int
    start: float
    end: float
    text: str


class Transcription(BaseModel):
    text: str


class VerboseTranscription(BaseModel):
    task: Literal["transcribe"] = "transcribe"
    language: str
    duration: float
    text: str
    segments: list[Segment]
