"""What strangers send: each is refused with the right 4xx, nothing is fetched, and memory stays where it was."""

from __future__ import annotations

import contextlib
import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest
import soundfile
from PIL import Image

from sensorium.run import sha256_text
from sensorium.serving.door.fetch import Fetcher
from sensorium.serving.settings import FetchLimits, MediaLimits
from tests.serving.fake import KEY, FakeEngine, app_of, b64, data_url, exchange, png, served, wav
from tests.serving.fetching import Network, reply

MIB = 1 << 20
MOST_MEMORY = 200 * MIB
SECRET = "do-not-echo-me"


# -- a server that may fetch, on a network that is not there ------------------------------------------

NETWORK = Network(
    addresses={
        "private.example.org": ["10.0.0.5"],
        "loopback.example.org": ["127.0.0.1"],
        "loopback6.example.org": ["::1"],
        "link.example.org": ["169.254.169.254"],
        "link6.example.org": ["fe80::1"],
        "mapped.example.org": ["::ffff:127.0.0.1"],
        "mapped-private.example.org": ["::ffff:192.168.1.1"],
        "nat64.example.org": ["64:ff9b::7f00:1"],
        "sixtofour.example.org": ["2002:7f00:1::"],
        "teredo.example.org": ["2001:0:7f00:1::1"],
        "compatible.example.org": ["::127.0.0.1"],
        "unique.example.org": ["fd00::1"],
        "carrier.example.org": ["100.64.0.1"],
        "this.example.org": ["0.0.0.0"],
        "broadcast.example.org": ["255.255.255.255"],
        "multicast.example.org": ["224.0.0.1"],
        "documentation.example.org": ["192.0.2.1"],
        "benchmark.example.org": ["198.18.0.1"],
        "scoped.example.org": ["fe80::1%eth0"],
        "mixed.example.org": ["93.184.216.34", "127.0.0.1"],
        "nowhere.example.org": [],
        "rebinding.example.org": ["127.0.0.1"],
        "outside.test": ["93.184.216.34"],
    }
)


@pytest.fixture(scope="module")
def hostile_server() -> Iterator[tuple[str, Network]]:
    fetcher = Fetcher(FetchLimits(hosts=("*.example.org",), seconds=2), NETWORK.resolve, NETWORK.dial)
    gate = app_of(FakeEngine(), fetcher, key_hashes={"me": sha256_text(KEY)}, body_seconds=1.0, header_seconds=1.0)
    with served(gate) as address:
        yield address, NETWORK


# -- the table -----------------------------------------------------------------------------------------


@dataclass
class Case:
    """A request: ``make`` builds its body or raw bytes when its turn comes; ``code`` the error's, where it matters."""

    name: str
    status: int
    make: Callable[[], Any]
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    method: str = "POST"


def chat(content: Any, **others: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **others}


def picture(address: Any) -> dict[str, Any]:
    return chat([{"type": "image_url", "image_url": {"url": address}}])


def sound(data: bytes, format_: str = "wav") -> dict[str, Any]:
    return chat([{"type": "input_audio", "input_audio": {"data": b64(data), "format": format_}}])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, colour: int = 2, depth: int = 8) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


@cache
def png_bomb(side: int, colour: int = 2) -> bytes:
    """A whole picture of one colour: few bytes, many pixels."""
    row = b"\0" * (1 + side * {2: 3, 6: 4}[colour])
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def saved(format_: str, frames: int = 1, size: tuple[int, int] = (16, 16)) -> bytes:
    made = [Image.new("RGB", size, (40 * i, 0, 0)) for i in range(frames)]
    buffer = io.BytesIO()
    options: dict[str, Any] = {"save_all": True, "append_images": made[1:]} if frames > 1 else {}
    made[0].save(buffer, format_, **options)
    return buffer.getvalue()


def webp_canvas(width: int, height: int) -> bytes:
    """An extended WebP whose header names a canvas that its one small picture does not fill."""
    inner = saved("WEBP")[12:]
    extended = (
        b"VP8X"
        + struct.pack("<I", 10)
        + b"\0\0\0\0"
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    body = b"WEBP" + extended + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def wav_header(rate: int, channels: int, size: int, data: bytes = b"\0" * 64) -> bytes:
    format_ = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2 % 2**32, channels * 2, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16) + format_
        + b"data" + struct.pack("<I", size) + data
    )  # fmt: skip


@cache
def long_sound(format_: str, seconds: int, rate: int = 48_000) -> bytes:
    """Silence for minutes: few bytes once encoded."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", rate, 1, format=format_, subtype="OPUS" if format_ == "OGG" else None
    ) as file:
        for _ in range(seconds):
            file.write(np.zeros(rate, dtype=np.float32))
    return buffer.getvalue()


def nested(depth: int) -> bytes:
    return b'{"model":"tiny","messages":' + b"[" * depth + b"]" * depth + b"}"


def form(data: bytes, name: str = "q.wav", model: str = "whisper-1", boundary: str = "b") -> bytes:
    return (
        f'--{boundary}\r\ncontent-disposition: form-data; name="model"\r\n\r\n{model}\r\n--{boundary}\r\n'
        f'content-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    ).encode() + data + f"\r\n--{boundary}--\r\n".encode()  # fmt: skip


def address_cases() -> Iterator[Case]:
    refused = "invalid_media"
    for host in NETWORK.addresses:
        yield Case(f"host {host}", 400, lambda host=host: picture(f"https://{host}/{SECRET}.png"), code=refused)
    for address in (
        "http://private.example.org/a.png",
        "https://127.0.0.1/a.png",
        "https://2130706433/a.png",
        "https://0x7f000001/a.png",
        "https://0177.0.0.1/a.png",
        "https://127.1/a.png",
        "https://[::1]/a.png",
        "https://[::ffff:127.0.0.1]/a.png",
        "https://localhost/a.png",
        "https://user:password@rebinding.example.org/a.png",
        "https://rebinding.example.org@127.0.0.1/a.png",
        "https://rebinding.example.org:22/a.png",
        "https://rebinding.example.org:99999/a.png",
        "https://rebinding.example.org\\@127.0.0.1/a.png",
        "https://rebinding.example.org\r\nHost: 127.0.0.1/a.png",
        "https://rebinding.example.org/a b.png",
        "https://ｒebinding.example.org/a.png",
        "https://example.org.evil.test/a.png",
        "https://example.org/a.png",
        "https://rebinding.example.org." + "a" * 3000 + "/a.png",
        "https:///a.png",
        "HTTPS://127.0.0.1/a.png",
        "ftp://rebinding.example.org/a.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "../../../../etc/passwd",
        "gopher://rebinding.example.org/",
        "javascript:alert(1)",
        "blob:https://rebinding.example.org/1",
    ):
        yield Case(f"address {address[:60]!r}", 400, lambda a=address: picture(a), code=refused)


def media_cases() -> Iterator[Case]:
    refused = "invalid_media"

    def one(name: str, make: Callable[[], Any]) -> Case:
        return Case(name, 400, make, code=refused)

    yield one("100 million pixels in a header", lambda: picture(data_url(png_header(10_000, 10_000))))
    yield one("2^31 pixels wide", lambda: picture(data_url(png_header(2**31 - 1, 1))))
    yield one("a long thin picture", lambda: picture(data_url(png_header(400_000, 4))))
    yield one("no pixels", lambda: picture(data_url(png_header(0, 0))))
    yield one("a PNG bomb of 13,000 squared", lambda: picture(data_url(png_bomb(13_000))))
    yield one("a transparent bomb under the pixel limit", lambda: picture(data_url(png_bomb(3_900, colour=6))))
    yield one("a WebP canvas of 16,383 squared", lambda: picture(data_url(webp_canvas(16_383, 16_383), "image/webp")))
    yield one("a truncated PNG", lambda: picture(data_url(png(64, 64)[:-40])))
    yield one("a truncated JPEG", lambda: picture(data_url(saved("JPEG", size=(256, 256))[:700], "image/jpeg")))
    yield one("a header alone", lambda: picture(data_url(png()[:24])))
    yield one("an animated GIF", lambda: picture(data_url(saved("GIF", 5), "image/gif")))
    yield one("an animated WebP", lambda: picture(data_url(saved("WEBP", 5), "image/webp")))
    yield one("an animated PNG", lambda: picture(data_url(saved("PNG", 5))))
    yield one("a TIFF of several pages", lambda: picture(data_url(saved("TIFF", 3), "image/tiff")))
    yield one("EPS, which starts a program", lambda: picture(data_url(saved("EPS"), "image/png")))
    yield one("SVG", lambda: picture(data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")))
    yield one("HTML that says it is a PNG", lambda: picture(data_url(b"<html><script>1</script></html>")))
    yield one("a PNG that says it is HTML", lambda: picture(data_url(png(), "text/html")))
    yield one("a picture without a type", lambda: picture(f"data:;base64,{b64(png())}"))
    yield one("a sound as a picture", lambda: picture(data_url(wav(), "audio/wav")))
    yield one("a picture as a sound", lambda: sound(png()))
    yield one("base64 with spaces", lambda: picture(data_url(png()).replace("=", " =")[:-3] + "  "))
    yield one("base64 of a wrong length", lambda: picture("data:image/png;base64,abcde"))
    yield one("base64 of other letters", lambda: picture("data:image/png;base64,*-_~"))
    yield one("no base64 at all", lambda: picture("data:image/png,%89PNG"))
    yield one("an empty picture", lambda: picture("data:image/png;base64,"))
    yield one("a picture of more than 20 MiB", lambda: picture(data_url(b"\x89PNG\r\n\x1a\n" + bytes(20 * MIB))))
    yield one("a path in a sound", lambda: chat([{"type": "input_audio", "input_audio": {"data": "/etc/passwd"}}]))
    yield one("six minutes of Opus", lambda: sound(long_sound("OGG", 400, 8_000), "ogg"))
    yield one("ten minutes of FLAC", lambda: sound(long_sound("FLAC", 600, 8_000), "flac"))
    yield one("a WAV that says 1 GB", lambda: sound(wav_header(16_000, 1, 2**30)))
    yield one("a truncated WAV", lambda: sound(wav(1.0)[:5000]))
    yield one("a rate of 1 Hz", lambda: sound(wav_header(1, 1, 64)))
    yield one("a rate of 4 GHz", lambda: sound(wav_header(2**32 - 1, 1, 64)))
    yield one("a rate of 192 kHz", lambda: sound(wav(0.1, rate=192_000)))
    yield one("1,000 channels", lambda: sound(wav_header(16_000, 1000, 64)))
    yield one("eight channels", lambda: sound(wav(0.1, channels=8)))
    yield one("an empty sound", lambda: sound(wav(0.0)))
    yield one("zeros as a sound", lambda: sound(bytes(1000)))
    yield Case("33 pictures", 400, lambda: chat([{"type": "image_url", "image_url": data_url(png())}] * 33))
    yield Case(
        "a path to classify", 400, lambda: {"model": "tiny", "input": {"picture": "/etc/passwd"}}, "/v1/classify",
        code=refused,
    )  # fmt: skip
    yield Case(
        "a bomb to embed", 400,
        lambda: {"model": "tiny", "input": [[{"type": "image_url", "image_url": data_url(png_bomb(13_000))}]]},
        "/v1/embeddings", code=refused,
    )  # fmt: skip
    yield Case(
        "a bomb in responses", 400,
        lambda: {"model": "tiny", "input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": data_url(png_bomb(13_000))}]}]},
        "/v1/responses", code=refused,
    )  # fmt: skip
    multipart = {"content-type": "multipart/form-data; boundary=b"}
    yield Case("six minutes to transcribe", 400, lambda: form(long_sound("OGG", 400, 8_000)), "/v1/audio/transcriptions",
               multipart, refused)  # fmt: skip
    yield Case("a text to transcribe", 400, lambda: form(b"hello"), "/v1/audio/transcriptions", multipart, refused)
    yield Case("a path as a file's name", 400, lambda: form(b"x", "../../etc/passwd"), "/v1/audio/transcriptions",
               multipart, refused)  # fmt: skip


def body_cases() -> Iterator[Case]:
    for depth in (40, 199, 5_000, 1_000_000):
        yield Case(f"JSON {depth} deep", 400, lambda depth=depth: nested(depth))
    yield Case("objects 100,000 deep", 400, lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    yield Case("millions of empty lists", 400, lambda: b"[" + b"[]," * 5_000_000 + b"[]]", code="too_many_values")
    yield Case("NaN", 400, lambda: b'{"model":"tiny","temperature":NaN}', code="invalid_json")
    yield Case("a million digits", 400, lambda: b'{"seed":' + b"9" * 1_000_000 + b"}")
    yield Case("half a surrogate pair", 400, lambda: b'{"model":"\\ud800"}')
    yield Case("bytes that are no UTF-8", 400, lambda: b'{"model":"\xff\xfe"}', code="invalid_json")
    yield Case("no JSON", 400, lambda: b"<xml/>", code="invalid_json")
    yield Case("nothing", 400, lambda: b"")
    yield Case("a list", 400, list)
    yield Case("a body of 40 MiB", 413, lambda: b" " * (40 * MIB))
    yield Case("a field of 5 MB", 400, lambda: chat("x" * 5_000_000))
    yield Case("a text beyond the context", 400, lambda: chat("x " * 60_000), code="context_length_exceeded")
    yield Case("a model's name of 1 MB", 400, lambda: chat("hi") | {"model": "x" * MIB})
    yield Case("1,001 messages", 400, lambda: {"model": "tiny", "messages": [{"role": "user", "content": "x"}] * 1001})
    yield Case("1,000 alternatives", 400, lambda: chat("hi", n=1000))
    yield Case("20 alternatives", 400, lambda: chat("hi", n=20))
    yield Case("a schema of 200 kB", 400, lambda: chat("hi", response_format={"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"enum": ["x" * 200_000]}}}), code="invalid_format")  # fmt: skip
    yield Case("a schema elsewhere", 400, lambda: chat("hi", response_format={"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"$ref": "https://rebinding.example.org/s.json"}}}), code="invalid_format")  # fmt: skip
    yield Case("tools", 400, lambda: chat("hi", tools=[{"type": "function"}]), code="unsupported_parameter")
    yield Case("a field with a line break", 400, lambda: chat("hi") | {"a \r\nx-evil: 1": 1})
    yield Case("compressed", 415, lambda: b"\x1f\x8b" + bytes(100), headers={"content-encoding": "gzip"})
    yield Case("another type", 415, lambda: json.dumps(chat("hi")).encode(), headers={"content-type": "text/plain"})
    yield Case("a form for chat", 415, lambda: b"model=tiny",
               headers={"content-type": "application/x-www-form-urlencoded"})  # fmt: skip
    for name, told, code in (
        ("nobody to recommend to", {}, "invalid_value"),
        ("a user and a history", {"user": "u1", "history": ["t1"]}, "invalid_value"),
        ("an unknown item", {"history": ["t1", SECRET]}, "unknown_item"),
        ("a million recommendations", {"user": "u1", "top": 1_000_000}, "invalid_value"),
        ("none to recommend", {"user": "u1", "top": 0}, "invalid_value"),
        ("a share beyond one", {"user": "u1", "diversity": 1.5}, "invalid_value"),
        ("a share that is text", {"user": "u1", "freshness": "0.5"}, "invalid_value"),
        ("a user who is a list", {"user": ["u1"]}, "invalid_value"),
        ("a user who is true", {"user": True}, "invalid_value"),
        ("a user of 300 letters", {"user": "u" * 300}, "invalid_value"),
        ("a history of a text", {"history": "t1; t2"}, "invalid_value"),
        ("a history of numbers", {"history": [1, 2]}, "invalid_value"),
        ("5,000 items met", {"history": ["t1"] * 5_000}, "invalid_value"),
        ("an unknown field", {"user": "u1", "temperature": 0.5}, "unsupported_parameter"),
        ("another model", {"user": "u1", "model": "other"}, "model_not_found"),
    ):
        status = 404 if code == "model_not_found" else 400
        yield Case(name, status, lambda told=told: {"model": "tiny", **told}, "/v1/recommend", code=code)
    multipart = {"content-type": "multipart/form-data; boundary=b"}
    yield Case("two files", 400, lambda: form(wav())[:-6] + form(wav()), "/v1/audio/transcriptions", multipart)
    yield Case("a form without end", 400, lambda: form(wav())[:-20], "/v1/audio/transcriptions", multipart)
    yield Case("a form without boundary", 400, lambda: form(wav()), "/v1/audio/transcriptions",
               {"content-type": "multipart/form-data"})  # fmt: skip
    yield Case(
        "a form's field of 1 MB", 400, lambda: form(wav(), model="x" * MIB), "/v1/audio/transcriptions", multipart
    )


def door_cases() -> Iterator[Case]:
    hello: Callable[[], Any] = lambda: chat("hi")  # noqa: E731 - one of many makers
    yield Case("no key", 401, hello, headers={"authorization": ""}, code="invalid_api_key")
    yield Case("a wrong key", 401, hello, headers={"authorization": "Bearer sk-wrong"}, code="invalid_api_key")
    yield Case("half the key", 401, hello, headers={"authorization": f"Bearer {KEY[:-1]}"}, code="invalid_api_key")
    yield Case("a hash as a key", 401, hello, headers={"authorization": f"Bearer {sha256_text(KEY)}"})
    yield Case("basic authorisation", 401, hello, headers={"authorization": f"Basic {b64(KEY.encode())}"})
    yield Case("another Host", 421, hello, headers={"host": "evil.test"})
    yield Case("a Host that begins alike", 421, hello, headers={"host": "localhost.evil.test"})
    yield Case("another origin", 403, hello, headers={"origin": "https://evil.test"})
    yield Case("no origin's origin", 403, hello, headers={"origin": "null"})
    yield Case("a page elsewhere", 403, hello, headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"})
    yield Case("headers of 30 kB", 431, hello, headers={"x-long": "x" * 30_000})
    yield Case("100 headers", 431, hello, headers={f"x-{i}": "1" for i in range(100)})
    for path in ("/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/app.js/../../secret", "/static/../index.html",
                 "//etc/passwd", "/%00", "/index.html%00.png", "/.git/config", "/web/app.js", "/v1/../health"):  # fmt: skip
        yield Case(f"path {path}", 404, lambda: None, path, method="GET")
        yield Case(f"path {path}, no key", 401, lambda: None, path, {"authorization": ""}, method="GET")
    yield Case("metrics without a key", 401, lambda: None, "/metrics", {"authorization": ""}, method="GET")
    yield Case("the description without a key", 401, lambda: None, "/openapi.json", {"authorization": ""}, method="GET")
    yield Case("health with a slash, no key", 401, lambda: None, "/health/", {"authorization": ""}, method="GET")
    yield Case("a path as model", 404, lambda: chat("hi") | {"model": "../../etc/passwd"}, code="model_not_found")
    yield Case("DELETE", 405, lambda: None, "/v1/models", method="DELETE")


CASES = [*address_cases(), *media_cases(), *body_cases(), *door_cases()]


def test_the_table_is_long_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80


@contextlib.contextmanager
def memory(limit: int) -> Iterator[None]:
    """At its height the process holds at most ``limit`` more than now."""
    clear, before = Path("/proc/self/clear_refs"), psutil.Process().memory_info().rss
    with contextlib.suppress(OSError):
        clear.write_text("5")  # resets the peak (proc(5))
    yield
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    assert peak - before < limit, f"{(peak - before) / MIB:.0f} MiB"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused(case: Case, hostile_server: tuple[str, Network]) -> None:
    address, network = hostile_server
    made = case.make()
    body = made if isinstance(made, bytes) else None if made is None else json.dumps(made).encode()
    headers = {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "connection": "close",
    } | case.headers
    del made
    network.dialled.clear()
    with memory(MOST_MEMORY), socket_client(address) as client:
        status, told = client(case.method, case.path, headers, body)
    assert (status, network.dialled) == (case.status, [])
    error = json.loads(told)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    if case.code:
        assert error["code"] == case.code
    for echoed in (SECRET, "etc/passwd", "127.0.0.1", "example.org", " at 0x", ".py", "site-packages"):
        assert echoed not in told.decode(), echoed


@contextlib.contextmanager
def socket_client(address: str) -> Iterator[Callable[..., tuple[int, bytes]]]:
    """A client that sends paths as they are."""
    import http.client

    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)

    def call(method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        connection.putrequest(method, path, skip_host="host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            if value:
                connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders()
        with contextlib.suppress(ConnectionError):  # it is refused before it is whole
            connection.send(body or b"")
        reply = connection.getresponse()
        return reply.status, reply.read()

    try:
        yield call
    finally:
        connection.close()


AUTH = f"Host: localhost\r\nAuthorization: Bearer {KEY}\r\n"
GET, POST = f"GET /v1/models HTTP/1.1\r\n{AUTH}", f"POST /v1/chat/completions HTTP/1.1\r\n{AUTH}"
CLOSE, CHUNKED, JSON = "Connection: close\r\n", "Transfer-Encoding: chunked\r\n", "Content-Type: application/json\r\n"
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"
RAW = {
    "no HTTP": ("hello\r\n\r\n", 400),
    "a binary greeting": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\0" * 100, 400),
    "a CR in a header": (f"{GET}X-A: b\rX-C: d\r\n\r\n", 400),
    "a space before a colon": (f"{GET}X-A : b\r\n\r\n", 400),
    "a NUL in a header": (f"{GET}X-A: a\0b\r\n\r\n", 400),
    "a CRLF in the path": (f"GET /v1/models%0d%0aX-Evil:1 HTTP/1.1\r\n{AUTH}{CLOSE}\r\n", 404),
    "two lengths": (f"{POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}", 400),
    "a negative length": (f"{POST}Content-Length: -5\r\n\r\n", 400),
    "a length of 10^18": (f"{POST}Content-Length: 1{'0' * 18}\r\n\r\n", 413),
    "bad chunks": (f"{POST}{CHUNKED}\r\nzz\r\n", 400),
    "length and chunks": (f"{POST}{JSON}Content-Length: 4\r\n{CHUNKED}{CLOSE}\r\n2\r\n{{}}\r\n0\r\n\r\n", 400),
    "no Host": ("GET /v1/models HTTP/1.1\r\n\r\n", 400),
    "two Hosts": ("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n", 400),
    "HTTP/1.0 without Host": ("GET /v1/models HTTP/1.0\r\n\r\n", 421),
    "a whole address as target": (f"GET http://127.0.0.1/v1/models HTTP/1.1\r\n{AUTH}{CLOSE}\r\n", 404),
    "a header of 100 kB": (f"{GET}X-A: {'a' * 100_000}", 400),
    "slow headers": ("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n", 408),
    "silence": ("", 408),
    "a slow body": (f"{POST}{JSON}Content-Length: 100\r\n\r\n{{", 408),
    "slow chunks": (f"{POST}{CHUNKED}\r\n1\r\n{{\r\n", 408),
    "a WebSocket": (f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n", 401),
}


def test_what_is_fetched_is_bounded_together() -> None:
    """It is not in the body, so that the body's limit does not hold it."""
    there = Network({"pictures.example.org": ["93.184.216.34"]}, {})
    fetcher = Fetcher(FetchLimits(hosts=("pictures.example.org",)), there.resolve, there.dial)
    one, content = png(), [{"type": "image_url", "image_url": "https://pictures.example.org/a.png"}] * 4
    for room, status, dialled in ((4, 200, 4), (2, 400, 3)):
        there.dialled.clear()
        there.replies["pictures.example.org"] = [reply(body=one) for _ in content]
        gate = app_of(FakeEngine(), fetcher, media=MediaLimits(together_bytes=room * len(one)))
        with served(gate) as address:
            found = httpx2.post(f"{address}/v1/chat/completions", json=chat(content))
        assert (found.status_code, len(there.dialled)) == (status, dialled)


@pytest.mark.parametrize("name", RAW)
def test_raw_bytes_are_refused(name: str, hostile_server: tuple[str, Network]) -> None:
    data, status = RAW[name]
    told = exchange(int(hostile_server[0].rpartition(":")[2]), data.encode("latin-1"), seconds=4)
    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), told[:300]
    assert b"evil" not in told.lower()
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_a_chunked_body_without_end_is_cut_at_the_limit(hostile_server: tuple[str, Network]) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            yield bytes(MIB)

    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    with memory(MOST_MEMORY), httpx2.Client() as client:
        try:
            reply = client.post(f"{hostile_server[0]}/v1/chat/completions", content=pieces(), headers=headers)
        except httpx2.TransportError:
            return  # it was cut off while it still sent
    assert reply.status_code == 413


def test_the_server_still_answers_afterwards(hostile_server: tuple[str, Network]) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    reply = httpx2.post(f"{hostile_server[0]}/v1/chat/completions", json=chat("hi"), headers=headers)
    assert reply.json()["choices"][0]["message"]["content"] == "A red fox."
