"""What a server is allowed and how long it waits: one typed place for every limit."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MIB = 1 << 20


class MediaLimits(BaseModel):
    """What a picture or sound that a stranger sends may be.

    Attributes:
        bytes: of one file, encoded. pixels: width × height, read from the header before a pixel is decoded.
        memory: bytes that decoding one may take. side: pixels of the longer side.
        seconds, lowest_rate, highest_rate (Hz), channels: of a sound. spoken_seconds: of a sound to transcribe.
        together: pictures and sounds of one request; together_bytes: of them all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int = Field(default=20 * MIB, gt=0)
    pixels: int = Field(default=16_000_000, gt=0)
    memory: int = Field(default=160 * MIB, gt=0)
    side: int = Field(default=16_384, gt=0)
    seconds: float = Field(default=30.0, gt=0)
    spoken_seconds: float = Field(default=300.0, gt=0)
    lowest_rate: int = Field(default=4_000, gt=0)
    highest_rate: int = Field(default=48_000, gt=0)
    channels: int = Field(default=2, gt=0)
    together: int = Field(default=32, gt=0)
    together_bytes: int = Field(default=40 * MIB, gt=0)


class FetchLimits(BaseModel):
    """Remote media: fetched from ``hosts`` alone (``example.org``, or ``*.example.org`` for what is below it)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hosts: tuple[str, ...] = ()
    seconds: float = Field(default=10.0, gt=0)
    redirects: int = Field(default=3, ge=0)


class Settings(BaseModel):
    """A server's settings.

    Attributes:
        name: the model's, in ``/v1/models``. hosts: names that the Host header may have, without a port.
        origins: other origins whose pages may call; none by default. key_hashes: name: hex SHA-256 of an API key.
        body_bytes, bodies_bytes: of one request's body, and of all that are being read or answered.
        values: commas and brackets in a JSON body; depth: of its nesting. header_bytes, header_count: of a request.
        header_seconds, body_seconds: headers, and then the body, must be whole by then.
        answer_seconds: a request's deadline. drain_seconds: from SIGTERM to the process's end.
        together: requests at once, in any state.
        answers: ``n`` at the most. tokens: of one answer, where the request names no number; None: what the context leaves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "sensorium"
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    origins: tuple[str, ...] = ()
    key_hashes: dict[str, str] = Field(default_factory=dict)
    media: MediaLimits = MediaLimits()
    fetch: FetchLimits = FetchLimits()
    body_bytes: int = Field(default=28 * MIB, gt=0)
    bodies_bytes: int = Field(default=128 * MIB, gt=0)
    values: int = Field(default=100_000, gt=0)
    depth: int = Field(default=32, gt=0, le=150)
    header_bytes: int = Field(default=16_384, gt=0)
    header_count: int = Field(default=64, gt=0)
    header_seconds: float = Field(default=10.0, gt=0)
    body_seconds: float = Field(default=30.0, gt=0)
    answer_seconds: float = Field(default=300.0, gt=0)
    drain_seconds: float = Field(default=30.0, gt=0)
    together: int = Field(default=512, gt=0)
    answers: int = Field(default=8, gt=0)
    tokens: int | None = Field(default=None, gt=0)
