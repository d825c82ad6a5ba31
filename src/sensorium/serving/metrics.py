"""Numbers for Prometheus: requests, times, tokens, and the engine's own gauges."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """A server's numbers, in a registry of their own so that two servers in one process stay apart.

    Args:
        gauges: the engine's numbers now, by name.
    """

    def __init__(self, gauges: Callable[[], dict[str, float]] | None = None) -> None:
        self.registry = CollectorRegistry()
        common: dict[str, Any] = {"namespace": "sensorium", "registry": self.registry}
        self.requests = Counter("requests", "Requests answered.", ["route", "status"], **common)
        self.seconds = Histogram("request_seconds", "From request to end.", ["route"], buckets=_SECONDS, **common)
        self.first = Histogram("first_token_seconds", "From request to first text.", buckets=_SECONDS, **common)
        self.prompt = Counter("prompt_tokens", "Tokens of prompts.", **common)
        self.answer = Counter("answer_tokens", "Tokens of answers.", **common)
        self.gone = Counter("clients_gone", "Answers whose client went away.", **common)
        if gauges is not None:
            self.registry.register(_Engine(gauges))  # type: ignore[arg-type]

    def finished(self, route: str, status: int, seconds: float) -> None:
        """A request ended; ``route`` is the route's pattern, so that strangers cannot invent series."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class _Engine:
    def __init__(self, gauges: Callable[[], dict[str, float]]) -> None:
        self.gauges = gauges

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, value in sorted(self.gauges().items()):
            clean = re.sub(r"[^a-zA-Z0-9_]", "_", name)
            yield GaugeMetricFamily(
                f"sensorium_engine_{clean}", f"The engine's {clean.replace('_', ' ')}.", value=value
            )
