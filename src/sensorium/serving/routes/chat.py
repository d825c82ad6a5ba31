"""``/v1/chat/completions``: OpenAI's chat, whole or streamed."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sensorium.serving.engine.grammars import ANY_OBJECT, grammar_of_choices, grammar_of_schema
from sensorium.serving.errors import ErrorBody, invalid
from sensorium.serving.protocols import Piece, Sampling, ScoredToken
from sensorium.serving.routes import replies
from sensorium.serving.routes.answering import Asked, Whole, ask, while_there
from sensorium.serving.routes.conversation import to_messages
from sensorium.serving.routes.schemas import ChatRequest, ResponseFormat
from sensorium.serving.routes.sse import DONE, EventStream, event, guarded
from sensorium.serving.service import Service

LONGEST_SCHEMA = 65_536  # characters


async def complete(body: ChatRequest, request: Request, service: Service) -> Response | replies.Completion:
    """Answer a conversation."""
    service.check_model(body.model)
    n = body.n or 1
    if n > service.settings.answers:
        raise invalid(f"n is at most {service.settings.answers}", "n", "invalid_value")
    engine, sampling = service.engine, sampling_of(body, service.settings.tokens)
    messages = await while_there(request, to_messages(body.messages, service.door), service.metrics)
    asking = ask(
        engine, messages, sampling, service.metrics,
        n=n, seconds=service.settings.answer_seconds, key=request.state.request_id,
    )  # fmt: skip
    del messages  # what was shown need not stay while the answer is made
    asked = await while_there(request, asking, service.metrics)
    head: dict[str, Any] = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": service.settings.name,
    }
    if body.stream:
        with_usage = bool(body.stream_options and body.stream_options.include_usage)
        chunks = _chunks(asked, head, with_usage, sampling.top_logprobs is not None)
        return EventStream(guarded(chunks, _broken, request.state.request_id))
    wholes = await while_there(request, asked.whole(), service.metrics)
    choices = [
        replies.Choice(
            index=i,
            message=replies.AnswerMessage(content=whole.text, refusal=None),
            logprobs=None if sampling.top_logprobs is None else logprobs(whole.tokens),
            finish_reason=whole.finish,
        )
        for i, whole in enumerate(wholes)
    ]
    return replies.Completion(**head, choices=choices, usage=usage(asked, wholes))


def sampling_of(body: ChatRequest, most: int | None) -> Sampling:
    """How the request wants its answer drawn; greedily unless it names a temperature."""
    asked = body.max_completion_tokens or body.max_tokens
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    return Sampling(
        max_tokens=asked or most,
        temperature=body.temperature or 0.0,
        top_p=1.0 if body.top_p is None else body.top_p,
        stop=tuple(stop),
        seed=body.seed,
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        grammar=grammar_of(body.response_format, body.guided_choice),
    )


def grammar_of(form: ResponseFormat | None, choices: list[str] | None = None) -> str | None:
    """The grammar that an answer's form comes to. Raises ApiError where it is too large, BadGrammar where it is none."""
    if choices:
        return grammar_of_choices(choices)
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return grammar_of_schema(ANY_OBJECT)
    schema = form.json_schema.schema_
    if len(json.dumps(schema)) > LONGEST_SCHEMA:
        raise invalid(f"the schema has more than {LONGEST_SCHEMA:,} characters", "response_format", "invalid_format")
    return grammar_of_schema(schema)


# -- telling it ------------------------------------------------------------------------------------


async def _chunks(asked: Asked, head: dict[str, Any], with_usage: bool, scored: bool) -> AsyncGenerator[bytes, None]:
    head = head | {"object": "chat.completion.chunk"}
    nothing: dict[str, Any] = {"usage": None} if with_usage else {}
    wholes = [Whole() for _ in asked.answers]
    for i in range(len(wholes)):
        first = replies.ChoiceDelta(index=i, delta=replies.Delta(role="assistant", content=""), finish_reason=None)
        yield event(replies.Chunk(**head, choices=[first], **nothing))
    async with aclosing(asked.pieces()) as pieces:
        async for i, piece in pieces:
            wholes[i].count += piece.count
            if piece.text or piece.finish or piece.tokens:
                yield event(replies.Chunk(**head, choices=[_delta(i, piece, scored)], **nothing))
    if with_usage:
        yield event(replies.Chunk(**head, choices=[], usage=usage(asked, wholes)))
    yield DONE


def _delta(index: int, piece: Piece, scored: bool) -> replies.ChoiceDelta:
    delta = replies.Delta(content=piece.text) if piece.text else replies.Delta()
    tokens: dict[str, Any] = {"logprobs": logprobs(piece.tokens)} if scored else {}
    return replies.ChoiceDelta(index=index, delta=delta, finish_reason=piece.finish, **tokens)


def _broken(body: ErrorBody) -> bytes:
    return event(ErrorBody(error=body.error.model_copy())) + DONE


def usage(asked: Asked, wholes: list[Whole]) -> replies.Usage:
    """Tokens of a request and of all its answers."""
    made = sum(whole.count for whole in wholes)
    return replies.Usage(
        prompt_tokens=asked.prompt_tokens,
        completion_tokens=made,
        total_tokens=asked.prompt_tokens + made,
        prompt_tokens_details=replies.PromptDetails(cached_tokens=asked.cached_tokens),
    )


def logprobs(tokens: tuple[ScoredToken, ...] | list[ScoredToken]) -> replies.Logprobs:
    """Scored tokens in OpenAI's form."""
    content = [
        replies.TokenLogprob(
            token=token.text,
            logprob=_finite(token.logprob),
            bytes=list(token.data),
            top_logprobs=[
                replies.LikelyToken(token=other.text, logprob=_finite(other.logprob), bytes=list(other.data))
                for other in token.top
            ],
        )
        for token in tokens
    ]
    return replies.Logprobs(content=content, refusal=None)


def _finite(logprob: float) -> float:
    """JSON knows no infinity; -9999 is what OpenAI writes for what cannot be."""
    return max(float(logprob), -9999.0)
