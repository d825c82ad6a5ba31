"""Everything that goes wrong over HTTP, in OpenAI's error body: what and the mend, never an address, path or request."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from sensorium.errors import MediaError, SensoriumError
from sensorium.serving.protocols import BadGrammar, Draining, Expired, Full, TooLong


class ErrorDetail(BaseModel):
    """What went wrong: ``param`` names the field that holds the cause, ``code`` is for programs."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """OpenAI's error body."""

    error: ErrorDetail


class ApiError(Exception):
    """A refusal. ``retry`` answers the client's question whether to try again (``x-should-retry``)."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type_: str = "invalid_request_error",
        retry: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.retry = status, retry
        self.detail = ErrorDetail(message=message, type=type_, param=param, code=code)
        self.headers = dict(headers or {})
        if retry is not None:
            self.headers["x-should-retry"] = "true" if retry else "false"

    def body(self) -> ErrorBody:
        return ErrorBody(error=self.detail)

    def response(self) -> Response:
        return JSONResponse(self.body().model_dump(), self.status, headers=self.headers)


def invalid(message: str, param: str | None = None, code: str | None = None, status: int = 400) -> ApiError:
    """The request is wrong; it is not worth sending again as it is."""
    return ApiError(status, message, code=code, param=param, retry=False)


def unsupported(name: str) -> ApiError:
    """A field of OpenAI's that this server does not speak."""
    return invalid(f"{name} is not supported by this server; leave it out", name, "unsupported_parameter")


def busy(message: str, seconds: float, status: int = 429) -> ApiError:
    """Not now: 429 where there is too much to do, 503 where the server is going down."""
    type_, code = (
        ("rate_limit_error", "rate_limit_exceeded") if status == 429 else ("service_unavailable_error", "unavailable")
    )
    headers = {"retry-after": str(max(1, round(seconds)))}
    return ApiError(status, message, code=code, type_=type_, retry=True, headers=headers)


def draining(seconds: float = 5.0) -> ApiError:
    """The server is going down: another replica, or this one started again, will answer."""
    return busy("the server is going down; try again soon", seconds, 503)


def too_slow() -> ApiError:
    """The answer's deadline passed; trying again would take as long."""
    message = "the answer was not whole before its deadline; ask for fewer tokens"
    return ApiError(408, message, code="deadline_exceeded", type_="timeout_error", retry=False)


def translate(error: Exception, param: str | None = None) -> ApiError | None:
    """What the engine and the rooms below raise, as a refusal; None: a defect of ours."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Full):
        return busy("too many requests are waiting; try again later", error.seconds)
    if isinstance(error, Draining):
        return draining()
    if isinstance(error, TooLong):
        message = f"the messages take {error.tokens:,} tokens, and the context holds {error.limit:,}; shorten them"
        return invalid(message, param or "messages", "context_length_exceeded")
    if isinstance(error, BadGrammar):
        return invalid("the answer's format cannot be compiled; simplify it", "response_format", "invalid_format")
    if isinstance(error, Expired):
        return too_slow()
    if isinstance(error, MediaError):
        return invalid(told(error), param, "invalid_media")
    if isinstance(error, SensoriumError):
        return invalid(told(error), param)
    return None


def told(error: SensoriumError) -> str:
    """What and mend, without the place and without what a library said in brackets: it may hold an address."""
    what = re.sub(r"\s*\(.*\)", "", error.what)
    return f"{what}; {error.mend}" if error.mend else what


def of_status(status: int) -> ApiError:
    """The router's own refusals."""
    known = {404: "there is nothing here", 405: "this method is not allowed here"}
    message = known.get(status) or HTTPStatus(status).phrase.lower()
    return invalid(message, code="not_found" if status == 404 else None, status=status)


def of_validation(complaints: list[Any]) -> ApiError:
    """The complaint of pydantic that says most, by the field's name, without the value that was sent."""
    unknown = [each for each in complaints if each.get("type") == "extra_forbidden"]
    # Of a union every branch complains; the one that fitted furthest has the longest place.
    first = min(unknown, key=_depth) if unknown else max(complaints, key=_depth)
    steps = [step for step in first.get("loc", ()) if isinstance(step, int) or _FIELD.fullmatch(step)]
    param = ".".join(str(step) for step in steps) or None
    kind, context, name = first.get("type", ""), first.get("ctx") or {}, param or "the body"
    if kind == "extra_forbidden":
        last = _shown(first["loc"][-1])
        return invalid(f"{last} is not supported by this server; leave it out", last, "unsupported_parameter")
    if kind == "missing":
        return invalid(f"{name} is missing", param, "missing_required_parameter")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return invalid(f"{name} needs a type of {context.get('expected_tags', 'those known')}", param, "invalid_value")
    message = re.sub(r"^(Value error|Assertion failed), ", "", str(first.get("msg", "is not valid")))
    return invalid(f"{name}: {message[:1].lower()}{message[1:]}", param, "invalid_value")


# Steps of a place that are fields; pydantic also names the branches of a union, which are not.
_FIELD = re.compile(r"(?!(?:body|query|path|str|int|float|bool|list|none|constrained-\w+)$)[A-Za-z0-9_-]{1,64}")


def _depth(complaint: Any) -> int:
    return len(complaint.get("loc", ()))


def _shown(step: Any) -> str:
    """A stranger's name for a field, cut and made printable."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-$") else "?" for c in str(step)[:64])


def where_it_broke(error: BaseException) -> str:
    """A defect for the log: its kind and the lines that it went through, without its text, which may hold content."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    lines = (f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__} at {' < '.join(reversed(list(lines)))}"
