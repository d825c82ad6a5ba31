"""Remote media: what is dialled is what was checked, at every step."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from sensorium.errors import MediaError
from sensorium.serving.door.fetch import Fetcher, dial, globally_routable, resolve
from sensorium.serving.settings import FetchLimits
from tests.serving.fetching import Network, reply

OUTSIDE, OTHER = "93.184.216.34", "2606:2800:220:1::1"


def fetch(
    network: Network, address: str = "https://pictures.example.org/a.png?b=1", limit: int = 1000, **limits: object
) -> bytes:
    settings = FetchLimits(**{"hosts": ("pictures.example.org", "*.cdn.example.org"), "seconds": 1.0, **limits})
    return asyncio.run(Fetcher(settings, network.resolve, network.dial).fetch(address, limit))


def network(*replies: bytes, **more: list[bytes]) -> Network:
    return Network(
        {"pictures.example.org": [OUTSIDE], "a.cdn.example.org": [OTHER], "evil.test": [OUTSIDE]},
        {"pictures.example.org": list(replies), "a.cdn.example.org": more.get("cdn", [])},
    )


def test_the_checked_address_is_dialled_and_nothing_goes_along() -> None:
    there = network(reply(body=b"picture"))
    assert fetch(there) == b"picture"
    assert (there.resolved, there.dialled) == (["pictures.example.org"], [f"{OUTSIDE}:443"])
    sent = b"".join(there.sent).lower()
    assert sent.startswith(b"get /a.png?b=1 http/1.1\r\n") and b"host: pictures.example.org" in sent
    assert b"cookie" not in sent and b"authorization" not in sent and b"referer" not in sent


def test_a_name_that_changes_its_mind_is_asked_once() -> None:
    there = network(reply(body=b"picture"))
    answers = iter([[OUTSIDE], ["127.0.0.1"], ["127.0.0.1"]])

    async def rebinding(host: str) -> list[str]:
        there.last = host
        return next(answers)

    fetcher = Fetcher(FetchLimits(hosts=("pictures.example.org",)), rebinding, there.dial)
    assert asyncio.run(fetcher.fetch("https://pictures.example.org/a.png", 100)) == b"picture"
    assert there.dialled == [f"{OUTSIDE}:443"]


def test_one_private_address_among_others_refuses_the_host() -> None:
    there = network(reply(body=b"picture"))
    there.addresses["pictures.example.org"] = [OUTSIDE, "10.0.0.1"]
    with pytest.raises(MediaError, match="not allowed"):
        fetch(there)
    assert there.dialled == []


def test_a_redirect_to_an_allowed_host_is_followed_and_resolved_anew() -> None:
    there = network(reply("302 Found", location="https://a.cdn.example.org/b.png"), cdn=[reply(body=b"picture")])
    assert fetch(there) == b"picture"
    assert there.dialled == [f"{OUTSIDE}:443", f"{OTHER}:443"]


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1/",
        "http://pictures.example.org/a.png",
        "https://evil.test/a.png",
        "file:///etc/passwd",
        "//localhost/a.png",
        "https://loop.cdn.example.org/",
        "https://pictures.example.org:8443/",
    ],
)
def test_a_redirect_elsewhere_is_refused(location: str) -> None:
    there = network(reply("302 Found", location=location))
    there.addresses["loop.cdn.example.org"] = ["127.0.0.1"]
    with pytest.raises(MediaError, match="not allowed") as caught:
        fetch(there)
    assert len(there.dialled) == 1
    assert "example" not in str(caught.value) and "127" not in str(caught.value)


def test_redirects_end() -> None:
    there = network(*[reply("302 Found", location="/again.png")] * 9)
    with pytest.raises(MediaError, match="redirects too often"):
        fetch(there, redirects=3)
    assert len(there.dialled) == 4


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply("404 Not Found"), "does not give"),
        (reply("500 Oh no"), "does not give"),
        (reply(body=b"x" * 2000), "more than 1,000 bytes"),
        (reply(body=b"\x1f\x8b", content_encoding="gzip"), "compresses"),
        (b"not http at all\r\n\r\n", "could not be reached"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", "could not be reached"),
    ],
)
def test_bad_replies(answer: bytes, told: str) -> None:
    with pytest.raises(MediaError, match=told):
        fetch(network(answer))


def test_a_body_without_length_is_cut_at_the_limit() -> None:
    endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"
    with pytest.raises(MediaError, match="more than"):
        fetch(network(endless))


def test_a_slow_host_is_given_up() -> None:
    there = network()

    async def never(host: str) -> list[str]:
        await asyncio.sleep(30)
        return []

    fetcher = Fetcher(FetchLimits(hosts=("pictures.example.org",), seconds=0.05), never, there.dial)
    with pytest.raises(MediaError, match="too long"):
        asyncio.run(fetcher.fetch("https://pictures.example.org/a.png", 100))


def test_nothing_is_fetched_by_default(no_network: None) -> None:
    with pytest.raises(MediaError, match="not fetched"):
        asyncio.run(Fetcher(FetchLimits(), resolve, dial).fetch("https://pictures.example.org/a.png", 100))


def test_the_next_checked_address_is_tried_where_one_does_not_answer() -> None:
    there = network(reply(body=b"picture"))
    there.addresses["pictures.example.org"] = [OTHER, OUTSIDE]

    async def only_ipv4(address: str, port: int, seconds: float | None) -> object:
        if ":" in address:
            raise OSError("no way there")
        return await there.dial(address, port, seconds)

    fetcher = Fetcher(FetchLimits(hosts=("pictures.example.org",)), there.resolve, only_ipv4)  # type: ignore[arg-type]
    assert asyncio.run(fetcher.fetch("https://pictures.example.org/a.png", 100)) == b"picture"


def test_certificates_are_verified() -> None:
    """The dialler gives a plain connection; TLS over it is checked against the name."""
    seen: list[tuple[str | None, ssl.SSLContext]] = []
    there = network(reply(body=b"picture"))

    async def watched(address: str, port: int, seconds: float | None) -> object:
        wire = await there.dial(address, port, seconds)
        begin = wire.start_tls

        async def start_tls(ssl_context: ssl.SSLContext, server_hostname: str | None = None, **more: Any) -> object:
            seen.append((server_hostname, ssl_context))
            return await begin(ssl_context, server_hostname, **more)

        wire.start_tls = start_tls  # type: ignore[method-assign, assignment]
        return wire

    fetcher = Fetcher(FetchLimits(hosts=("pictures.example.org",)), there.resolve, watched)  # type: ignore[arg-type]
    asyncio.run(fetcher.fetch("https://pictures.example.org/a.png", 100))
    ((name, context),) = seen
    assert name == "pictures.example.org"
    assert context.check_hostname and context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert globally_routable(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
     "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "2002:7f00:1::", "2001:0:7f00:1::1",
     "::7f00:1", "2001:db8::1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", ""],
)  # fmt: skip
def test_other_addresses(address: str) -> None:
    assert not globally_routable(address)
