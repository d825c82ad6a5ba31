"""``/v1/responses``: OpenAI's newer form of a conversation, whole or as named events."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sensorium.serving.errors import ErrorBody
from sensorium.serving.protocols import Finish, Sampling
from sensorium.serving.routes.answering import Asked, Whole, ask, while_there
from sensorium.serving.routes.chat import grammar_of
from sensorium.serving.routes.conversation import to_messages
from sensorium.serving.routes.responses_schemas import (
    Event,
    Incomplete,
    InputDetails,
    InputImage,
    InputMessage,
    InputText,
    OfSchema,
    OutputMessage,
    OutputText,
    ResponseError,
    ResponseObject,
    ResponsesRequest,
    ResponseUsage,
    Status,
)
from sensorium.serving.routes.schemas import (
    AudioContent,
    ChatMessage,
    Content,
    ImageAddress,
    ImageContent,
    NamedSchema,
    ObjectFormat,
    ResponseFormat,
    SchemaFormat,
    TextContent,
)
from sensorium.serving.routes.sse import EventStream, guarded, written
from sensorium.serving.service import Service


async def respond(body: ResponsesRequest, request: Request, service: Service) -> Response | ResponseObject:
    """Answer a conversation."""
    service.check_model(body.model)
    engine, settings = service.engine, service.settings
    sampling = Sampling(
        max_tokens=body.max_output_tokens or settings.tokens,
        temperature=body.temperature or 0.0,
        top_p=1.0 if body.top_p is None else body.top_p,
        grammar=grammar_of(_form(body)),
    )
    messages = await while_there(request, to_messages(turns(body), service.door), service.metrics)
    key = request.state.request_id
    asking = ask(engine, messages, sampling, service.metrics, n=1, seconds=settings.answer_seconds, key=key)
    del messages  # what was shown need not stay while the answer is made
    asked = await while_there(request, asking, service.metrics)
    reply = Reply(body, settings.name)
    if body.stream:
        return EventStream(guarded(reply.events(asked), reply.broken, key))
    (whole,) = await while_there(request, asked.whole(), service.metrics)
    return reply.finished(asked, whole)


def turns(body: ResponsesRequest) -> list[ChatMessage]:
    """The request's turns as chat has them."""
    found = [ChatMessage(role="system", content=body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        return [*found, ChatMessage(role="user", content=body.input)]
    return [*found, *(_turn(message) for message in body.input)]


def _turn(message: InputMessage) -> ChatMessage:
    content = message.content if isinstance(message.content, str) else [_part(part) for part in message.content]
    return ChatMessage(role=message.role, content=content)


def _part(part: Any) -> Content:
    if isinstance(part, InputText):
        return TextContent(type="text", text=part.text)
    if isinstance(part, InputImage):
        return ImageContent(type="image_url", image_url=ImageAddress(url=part.image_url))
    return AudioContent(type="input_audio", input_audio=part.input_audio)


def _form(body: ResponsesRequest) -> ResponseFormat | None:
    form = body.text.format if body.text else None
    if form is None or form.type == "text":
        return None
    if isinstance(form, OfSchema):
        return SchemaFormat(type="json_schema", json_schema=NamedSchema(name=form.name, schema=form.schema_))
    return ObjectFormat(type="json_object")


@dataclass
class Reply:
    """The response object of a request, at each point of its way."""

    body: ResponsesRequest
    model: str

    def __post_init__(self) -> None:
        self.id, self.item_id = f"resp_{secrets.token_hex(12)}", f"msg_{secrets.token_hex(12)}"
        self.created, self.sequence = int(time.time()), 0

    def object(self, status: Status, output: list[OutputMessage], **others: Any) -> ResponseObject:
        body = self.body
        return ResponseObject(
            id=self.id, created_at=self.created, status=status, model=self.model, output=output,
            instructions=body.instructions, max_output_tokens=body.max_output_tokens, temperature=body.temperature,
            top_p=body.top_p, metadata=body.metadata or {}, **others,
        )  # fmt: skip

    def finished(self, asked: Asked, whole: Whole) -> ResponseObject:
        usage = ResponseUsage(
            input_tokens=asked.prompt_tokens,
            input_tokens_details=InputDetails(cached_tokens=asked.cached_tokens),
            output_tokens=whole.count,
            total_tokens=asked.prompt_tokens + whole.count,
        )
        cut = Incomplete() if whole.finish == "length" else None
        status = _status(whole.finish)
        return self.object(status, [self.message(status, whole.text)], usage=usage, incomplete_details=cut)

    def message(self, status: Status, text: str | None) -> OutputMessage:
        return OutputMessage(id=self.item_id, status=status, content=[] if text is None else [OutputText(text=text)])

    # -- events ------------------------------------------------------------------------------------

    async def events(self, asked: Asked) -> AsyncGenerator[bytes, None]:
        started = self.object("in_progress", [])
        yield self._event("response.created", response=started)
        yield self._event("response.in_progress", response=started)
        yield self._event("response.output_item.added", output_index=0, item=self.message("in_progress", None))
        place = {"item_id": self.item_id, "output_index": 0, "content_index": 0}
        yield self._event("response.content_part.added", part=OutputText(text=""), **place)
        whole = Whole()
        async with aclosing(asked.pieces()) as pieces:
            async for _, piece in pieces:
                whole.add(piece)
                if piece.text:
                    yield self._event("response.output_text.delta", delta=piece.text, logprobs=[], **place)
        done, status = OutputText(text=whole.text), _status(whole.finish)
        yield self._event("response.output_text.done", text=whole.text, logprobs=[], **place)
        yield self._event("response.content_part.done", part=done, **place)
        yield self._event("response.output_item.done", output_index=0, item=self.message(status, whole.text))
        yield self._event(f"response.{status}", response=self.finished(asked, whole))

    def broken(self, body: ErrorBody) -> bytes:
        """The answer broke off: OpenAI's ``error`` event, with the error as chat has it too."""
        detail = body.error
        error = ResponseError(code=detail.code or detail.type, message=detail.message)
        return self._event("error", code=error.code, message=error.message, param=detail.param, error=error)

    def _event(self, type_: str, **fields: Any) -> bytes:
        made = Event(type=type_, sequence_number=self.sequence, **fields)
        self.sequence += 1
        # What an event carries is written whole, nulls and all; what its kind does not have is left out.
        return written(made.model_dump_json(include=made.model_fields_set), type_)


def _status(finish: Finish) -> Status:
    return "incomplete" if finish == "length" else "completed"
