"""The second signal leaves at once; a launcher's echo of the first does not."""

from __future__ import annotations

import signal
import threading

import pytest

from sensorium.training import signals
from sensorium.training.signals import Stop, stop_on_signals


def test_second_signal_exits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now, exits = [0.0], []
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(signals.os, "_exit", exits.append)
    stop = Stop()
    stop.handle(signal.SIGINT, None)
    assert stop.requested and not exits
    now[0] = 0.2
    stop.handle(signal.SIGTERM, None)  # accelerate's launcher passes the terminal's Ctrl-C on
    assert not exits
    stop.handle(signal.SIGINT, None)
    assert exits == [130]
    now[0] = 5.0
    stop.handle(signal.SIGTERM, None)
    assert exits == [130, 143]


def test_other_threads_leave_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with stop_on_signals() as stop:
            seen.extend([stop.requested, signal.getsignal(signal.SIGTERM)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, before]
