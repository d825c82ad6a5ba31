"""Media from other hosts, where that is allowed at all.

An address is parsed once and its host resolved once; every address found must be globally routable, and the one that
was checked is the one that is dialled, so that no second answer of a name server can lead elsewhere. A redirect is
checked like the first address. No proxy, cookie or key goes along, and compressed replies are refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore2

from sensorium.errors import MediaError
from sensorium.serving.settings import FetchLimits

Resolve = Callable[[str], Awaitable[list[str]]]  # a host's name -> its addresses
Dial = Callable[[str, int, float | None], Awaitable[httpcore2.AsyncNetworkStream]]  # address, port, seconds
_HOST = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_PORT = 443
_CHUNK = 65_536


@dataclass(frozen=True)
class Fetcher:
    """Fetches from allowed hosts.

    Args:
        limits: see ``FetchLimits``; no host: nothing is ever fetched.
        resolve, dial: how a name becomes addresses and an address a connection; tests hand in their own.
        trust: certificates to trust; None: those that the machine trusts.
    """

    limits: FetchLimits
    resolve: Resolve
    dial: Dial
    trust: ssl.SSLContext | None = None

    async def fetch(self, address: str, limit_bytes: int) -> bytes:
        """The body that an https address leads to.

        Raises:
            MediaError: it is not allowed, leads into a private network, is too large, too slow or not there. The
                message names no address.
        """
        try:
            async with asyncio.timeout(self.limits.seconds):
                for _ in range(self.limits.redirects + 1):
                    body, address = await self._once(address, limit_bytes)
                    if body is not None:
                        return body
        except TimeoutError:
            raise MediaError("the host took too long", mend="send the media as a data: address") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError):
            raise MediaError("the host could not be reached", mend="send the media as a data: address") from None
        raise MediaError("the address redirects too often", mend="give the address it leads to")

    async def _once(self, address: str, limit: int) -> tuple[bytes | None, str]:
        """The body, or None and where the reply redirects to."""
        host, target = self.parse(address)
        headers = [
            (b"Host", host.encode()),
            (b"Accept-Encoding", b"identity"),
            (b"User-Agent", b"sensorium"),
            (b"Connection", b"close"),
        ]
        url = httpcore2.URL(scheme=b"https", host=host.encode(), port=_PORT, target=target)
        backend = _Checked(self.resolve, self.dial)
        async with (
            httpcore2.AsyncConnectionPool(self.trust, network_backend=backend, max_connections=1, retries=0) as pool,
            pool.stream("GET", url, headers=headers) as reply,
        ):
            found = {name.lower(): value for name, value in reply.headers}
            if reply.status in (301, 302, 303, 307, 308) and b"location" in found:
                return None, urljoin(f"https://{host}/", found[b"location"].decode("ascii", errors="replace"))
            if reply.status != 200:
                raise MediaError("the host does not give the file", mend="check the address")
            if found.get(b"content-encoding", b"identity").lower() != b"identity":
                raise MediaError("the host compresses its reply", mend="send the media as a data: address")
            body = bytearray()
            async for part in reply.aiter_stream():
                body += part
                if len(body) > limit:
                    raise MediaError(f"there are more than {limit:,} bytes", mend="make it smaller")
            return bytes(body), address

    def parse(self, address: str) -> tuple[str, bytes]:
        """(host, path with query) of an address that may be fetched. Raises MediaError."""
        if not self.limits.hosts:
            raise MediaError("remote addresses are not fetched by this server", mend="send a data: address")
        refused = MediaError("this address is not allowed", mend="give an https address of an allowed host")
        if len(address) > 2048 or not address.isascii() or re.search(r"[\x00-\x20\x7f\\]", address):
            raise refused
        try:
            parts = urlsplit(address)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise refused from None
        if parts.scheme != "https" or "@" in parts.netloc or port not in (None, _PORT) or not _HOST.fullmatch(host):
            raise refused
        if not any(host == one or (one.startswith("*.") and host.endswith(one[1:])) for one in self.limits.hosts):
            raise refused
        return host, (parts.path or "/").encode() + (b"?" + parts.query.encode() if parts.query else b"")


class _Checked(httpcore2.AsyncNetworkBackend):
    """Resolves once, refuses all of a host that has one address in a private network, dials the checked one."""

    def __init__(self, resolve: Resolve, dial: Dial) -> None:
        self.resolve, self.dial = resolve, dial

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore2.AsyncNetworkStream:  # fmt: skip
        found = await self.resolve(host)
        if not found or not all(globally_routable(address) for address in found):
            raise MediaError("this address is not allowed", mend="give an https address of an allowed host")
        for address in found[:-1]:
            try:
                return await self.dial(address, port, timeout)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout, OSError):
                continue  # a host may have addresses of a kind that this machine has no way to
        return await self.dial(found[-1], port, timeout)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


# What carries an IPv4 address within: NAT64 (RFC 6052, 8215), 6to4 (RFC 3056), Teredo (RFC 4380).
_CARRIERS = [ipaddress.ip_network(n) for n in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")]


def globally_routable(address: str) -> bool:
    """Whether an address is one of the public Internet, by IANA's registries; wrapped IPv4 is looked at within."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            return False
        if found.ipv4_mapped is not None:
            return globally_routable(str(found.ipv4_mapped))
        if any(found in network for network in _CARRIERS):
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


async def resolve(host: str) -> list[str]:
    """The addresses of a host, as the machine resolves names."""
    found = await asyncio.get_running_loop().getaddrinfo(host, _PORT, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def dial(address: str, port: int, seconds: float | None) -> httpcore2.AsyncNetworkStream:
    """A connection to an address, which is no name any more."""
    return await httpcore2.AnyIOBackend().connect_tcp(address, port, timeout=seconds)
