"""The outermost door: request id, host, origin, key and body are seen to before any route is looked for.

Plain ASGI, around the whole application, so that a route that is added later is protected without a word.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sensorium.serving import errors
from sensorium.serving.door.keys import key_name
from sensorium.serving.errors import ApiError, invalid, too_slow
from sensorium.serving.metrics import Metrics
from sensorium.serving.settings import Settings

log = logging.getLogger("sensorium.serving")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BODILESS = ("GET", "HEAD", "OPTIONS")


@dataclass
class Gate:
    """The application behind its door.

    Args:
        app: what answers. public: paths that need no key, exactly as the router sees them.
        always: public paths that are answered while the server drains.

    Attributes:
        draining: new requests get 503. running: requests inside.
    """

    app: ASGIApp
    settings: Settings
    metrics: Metrics
    public: Collection[str] = ()
    always: Collection[str] = ("/health", "/ready", "/metrics")
    draining: bool = False
    running: int = 0
    _bytes: int = field(default=0, repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        began, told = time.monotonic(), _Told(_request_id(headers))
        scope["state"] = {**scope.get("state", {}), "request_id": told.request_id}
        origin = headers.get("origin")
        held = 0

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                told.status = message["status"]
                found = MutableHeaders(scope=message)
                found["x-request-id"] = told.request_id
                found.setdefault("x-content-type-options", "nosniff")
                found.setdefault("cache-control", "no-store")
                if origin in self.settings.origins:
                    found["access-control-allow-origin"] = origin
                    found["access-control-expose-headers"] = "x-request-id, retry-after"
                    found.add_vary_header("origin")
            await send(message)

        self.running += 1
        try:
            told.key = self._enter(scope, headers)
            if scope["method"] == "OPTIONS" and origin in self.settings.origins:
                await _preflight(scope, receive, answer)
                return
            body = b""
            if scope["method"] not in _BODILESS:
                body, held = await self._body(headers, receive)
            # The engine keeps deadlines; this one is for a client that does not read its answer.
            async with asyncio.timeout(self.settings.answer_seconds + self.settings.body_seconds):
                await self.app(scope, _replay(body, receive), answer)
        except ApiError as error:
            if error.detail.code == "body":  # nothing more of this connection can be understood
                error.headers["connection"] = "close"
            await error.response()(scope, receive, answer)
        except _Gone:
            told.status = 499
        except TimeoutError:
            if not told.status:
                await too_slow().response()(scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - it was answered with 500; uvicorn would log the request's content
            log.error("%s: a defect of ours: %s", told.request_id, errors.where_it_broke(error))
        finally:
            self.running -= 1
            self._bytes -= held
            self._note(scope, told, time.monotonic() - began)

    # -- who and what ------------------------------------------------------------------------------

    def _enter(self, scope: Scope, headers: Headers) -> str | None:
        """The name of the caller's key. Raises ApiError where the request may not come in."""
        settings, path = self.settings, scope["path"]
        if len(scope["headers"]) > settings.header_count or _size(scope) > settings.header_bytes:
            raise invalid("the request's headers are too large", code="headers_too_large", status=431)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _host(hosts[0]) not in settings.hosts:
            raise invalid("this server does not answer to that Host; name it with --allow-host", status=421)
        self._check_origin(headers, hosts[0])
        if self.draining and path not in self.always:
            raise errors.draining()
        if self.running > settings.together and path not in self.always:
            raise errors.busy("too many requests at once; try again later", 1)
        open_ = path in self.public or (scope["method"] == "OPTIONS" and headers.get("origin") in settings.origins)
        if open_ or not settings.key_hashes:
            return None
        scheme, _, token = (headers.get("authorization") or "").partition(" ")
        name = key_name(token.strip(), settings.key_hashes) if scheme.lower() == "bearer" and token else None
        if name is None:
            message = (
                "an API key is needed: send Authorization: Bearer KEY" if not token else "this API key is not known"
            )
            raise ApiError(
                401, message, code="invalid_api_key", retry=False, headers={"www-authenticate": 'Bearer realm="api"'}
            )
        return name

    def _check_origin(self, headers: Headers, host: str) -> None:
        """No page of another origin may call, not even one that needs no answer (a form, an image)."""
        origin = headers.get("origin")
        if origin is None:
            if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
                raise invalid("pages of other origins may not call", code="origin", status=403)
        elif origin not in self.settings.origins and _netloc(origin) != host.lower():
            raise invalid("pages of that origin may not call; allow it with --allow-origin", code="origin", status=403)

    # -- the body ----------------------------------------------------------------------------------

    async def _body(self, headers: Headers, receive: Receive) -> tuple[bytes, int]:
        """The whole body, and how much of the common budget it holds until the request ends."""
        limit, said = self.settings.body_bytes, headers.get("content-length", "0")
        too_large = invalid(f"the body has more than {limit:,} bytes", code="body", status=413)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise invalid("the body must not be compressed", code="body", status=415)
        if not (said.isascii() and said.isdigit()):
            raise invalid("Content-Length is no number", code="body")
        if len(said) > 15 or int(said) > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    part = message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) + len(part) > limit:
                        raise too_large
                    if self._bytes + len(part) > self.settings.bodies_bytes:
                        raise errors.busy("the bodies of other requests fill the memory; try again later", 1)
                    self._bytes += len(part)
                    body += part
        except BaseException as error:
            self._bytes -= len(body)
            if isinstance(error, TimeoutError):
                raise ApiError(408, "the body took too long", code="body", retry=False) from None
            raise
        return bytes(body), len(body)

    # -- what is told ------------------------------------------------------------------------------

    def _note(self, scope: Scope, told: _Told, seconds: float) -> None:
        """One line a request, with nothing of what it holds: the route's own name stands for the path."""
        route = getattr(scope.get("route"), "path", None) or "-"
        self.metrics.finished(route, told.status, seconds)
        log.info(
            "%s %s %s %s %.0f ms key=%s",
            told.request_id, scope["method"] if scope["method"].isalpha() else "-", route, told.status or "-",
            1000 * seconds, told.key or "-",
        )  # fmt: skip


@dataclass
class _Told:
    request_id: str
    status: int = 0
    key: str | None = None


class _Gone(Exception):
    """The client left before its body was whole."""


def _request_id(headers: Headers) -> str:
    """The caller's own id where it is harmless in a log, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def _size(scope: Scope) -> int:
    return sum(len(name) + len(value) for name, value in scope["headers"]) + len(scope.get("query_string", b""))


def _host(value: str) -> str:
    """A Host header's name without its port."""
    name, colon, port = value.lower().rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else value.lower()


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _replay(body: bytes, receive: Receive) -> Receive:
    """``body`` first, then what the connection says: that it is gone."""
    waiting: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_


async def _preflight(scope: Scope, receive: Receive, send: Send) -> None:
    from starlette.responses import Response

    headers = {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "authorization, content-type, x-request-id",
        "access-control-max-age": "600",
    }
    await Response(status_code=204, headers=headers)(scope, receive, send)
