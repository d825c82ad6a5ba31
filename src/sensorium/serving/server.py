"""The process: a socket, a connection's manners, and the way out when SIGTERM comes."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import time
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sensorium.errors import SensoriumError
from sensorium.serving.door.gate import Gate
from sensorium.serving.errors import invalid
from sensorium.serving.protocols import Engine

log = logging.getLogger("sensorium.serving")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SensoriumError where the address cannot be had."""
    host = host.strip("[]")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        told = getattr(error, "strerror", None) or "no such address"
        raise SensoriumError(
            f"cannot listen there ({told})", where=f"{host}:{port}", mend="give another --host or --port"
        ) from None


class Server(uvicorn.Server):
    """uvicorn, but for its end: on SIGTERM running answers finish while new requests get 503.

    uvicorn itself closes its doors first, so that a proxy's next request is refused without a word.
    """

    def __init__(self, gate: Gate, engine: Engine | None, sock: socket.socket) -> None:
        self.gate, self.engine, self.sock = gate, engine, sock
        config = uvicorn.Config(
            gate, http=_protocol(gate), ws="none", loop="asyncio", lifespan="off", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, h11_max_incomplete_event_size=2 * gate.settings.header_bytes,
            timeout_keep_alive=30, timeout_graceful_shutdown=2,
        )  # fmt: skip
        super().__init__(config)
        self._draining: asyncio.Task[None] | None = None

    def run_to_end(self) -> None:
        """Serve until a signal; returns when everything is done or the drain limit has passed."""
        asyncio.run(self.serve(sockets=[self.sock]))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        host, port = self.sock.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log.info("serving %s at http://%s:%d", self.gate.settings.name, shown, port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.gate.draining:  # asked twice: at once
            self.should_exit = self.force_exit = True
            return
        self.gate.draining = True
        self.loop.call_soon_threadsafe(self._begin_to_drain, signal.Signals(sig).name)

    def _begin_to_drain(self, name: str) -> None:
        log.info("%s: %d requests finish, new ones are refused", name, self.gate.running)
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        # The limit is the process's own: closing connections, threads and the interpreter takes its share.
        limit = self.gate.settings.drain_seconds
        seconds = limit - min(5.0, limit / 4)
        end = time.monotonic() + seconds
        try:
            if self.engine is not None:
                await self.engine.drain(seconds)
            while self.gate.running and time.monotonic() < end:
                await asyncio.sleep(0.02)
        finally:
            left = self.gate.running
            log.info("drained%s", f"; {left} requests were cut off at the limit of {limit:g} s" if left else "")
            self.should_exit = True


def _protocol(gate: Gate) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1, with a limit on the time that headers take and errors in OpenAI's body."""
    seconds = gate.settings.header_seconds

    class Mannered(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._unwatch()

        def _watch(self) -> None:
            """Time runs from a request's first byte until its headers are whole."""
            if self.conn.their_state is not h11.IDLE:
                self._unwatch()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self._too_slow)

        def _unwatch(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _too_slow(self) -> None:
            self._timer = None
            if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
                self._refuse(408, "the headers took too long")

        def send_400_response(self, msg: str) -> None:
            self._refuse(400, "this is no valid HTTP/1.1 request")

        def _refuse(self, status: int, message: str) -> None:
            if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                self.transport.close()
                return
            body = invalid(message, code="invalid_http").body().model_dump_json().encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("x-should-retry", "false"),
                ("connection", "close"),
            ]
            self.transport.write(self.conn.send(h11.Response(status_code=status, headers=headers)) or b"")
            self.transport.write(self.conn.send(h11.Data(data=body)) or b"")
            self.transport.write(self.conn.send(h11.EndOfMessage()) or b"")
            self.transport.close()

    return Mannered
