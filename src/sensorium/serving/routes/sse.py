"""Server-sent events: one JSON object a line, and what happens when an answer breaks off midway."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sensorium.serving.errors import ApiError, ErrorBody, translate, where_it_broke

log = logging.getLogger("sensorium.serving")
DONE = b"data: [DONE]\n\n"


def event(value: BaseModel) -> bytes:
    """One event; fields that were never set are left out."""
    return written(value.model_dump_json(exclude_unset=True))


def written(data: str, name: str | None = None) -> bytes:
    """One event of one line of JSON."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data}\n\n".encode()


async def guarded(
    events: AsyncGenerator[bytes, None], broken: Callable[[ErrorBody], bytes], request_id: str
) -> AsyncGenerator[bytes, None]:
    """``events``; where they break off, one last event says so: the status was sent long ago."""
    try:
        async with aclosing(events) as each_event:
            async for each in each_event:
                yield each
    except Exception as error:  # noqa: BLE001 - the status was sent: any failure must reach the client as an event
        refused = translate(error)
        if refused is None:
            log.error("%s: a defect of ours, in the middle of an answer: %s", request_id, where_it_broke(error))
            refused = ApiError(500, "something went wrong here", type_="server_error", code="internal_error")
        yield broken(refused.body())


class EventStream(StreamingResponse):
    """Events that proxies pass on at once; their source is closed whichever way the response ends."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(events, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self.events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.events.aclose()
