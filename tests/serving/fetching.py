"""A network that is not there: names and addresses from a table, replies from a list, every dial written down."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpcore2


@dataclass
class Network:
    """What a name resolves to, and what answers at an address; the same name may change its mind."""

    addresses: dict[str, list[str]] = field(default_factory=dict)
    replies: dict[str, list[bytes]] = field(default_factory=dict)  # host: what it sends, a connection each
    resolved: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    last: str = ""

    async def resolve(self, host: str) -> list[str]:
        self.resolved.append(host)
        self.last = host
        return self.addresses.get(host, [])

    async def dial(self, address: str, port: int, seconds: float | None) -> httpcore2.AsyncNetworkStream:
        self.dialled.append(f"{address}:{port}")
        return Wire([self.replies[self.last].pop(0)], self)


class Wire(httpcore2.AsyncMockStream):
    """A connection that keeps what is sent; TLS is taken for granted."""

    def __init__(self, buffer: list[bytes], network: Network) -> None:
        super().__init__(buffer)
        self.network = network

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.network.sent.append(buffer)


def reply(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    """An HTTP reply; underscores in names of headers are hyphens."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
