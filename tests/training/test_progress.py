"""Lines when piped, bars on a terminal, nothing when quiet."""

from __future__ import annotations

import io

from sensorium.training.progress import Bars, Lines, Silent, clock_face, make_progress


def test_lines_come_seldom_and_say_rate_and_time_left() -> None:
    now, said = [0.0], []
    with Lines(said.append, clock=lambda: now[0]).task("training", 100, done=10, unit="step") as advance:
        for _ in range(90):
            now[0] += 2.0
            advance(1, loss=0.5)
    assert said[0] == "training: 20/100, 0.5 step/s, 2:40 left, loss 0.5"
    assert len(said) == 10 and said[-1] == "training: 100/100 in 3:00, loss 0.5"


def test_slow_work_still_shows_life_and_length_may_change() -> None:
    now, said = [0.0], []
    with Lines(said.append, clock=lambda: now[0]).task("features", 1000) as advance:
        for _ in range(3):
            now[0] += 60.0
            advance(1, total=3, note="x")
    assert said[0] == "features: 1/3, 0.0167 item/s, 2:00 left, note x"


def test_bar_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    progress = make_progress(stream=out)
    assert isinstance(progress, Bars)
    with progress.task("training", 4, unit="step") as advance:
        for _ in range(3):
            advance(1, total=3, loss=0.25, note="[bold]")
    assert "training" in out.getvalue() and "3/3" in out.getvalue() and "loss 0.25" in out.getvalue()
    assert "[bold]" in out.getvalue()  # shown, not obeyed


def test_choice_of_kind() -> None:
    out = io.StringIO()
    lines = make_progress(stream=out)
    assert isinstance(lines, Lines) and isinstance(make_progress(quiet=True), Silent)
    with lines.task("x", 1) as advance:
        advance()
    assert out.getvalue() == "x: 1/1 in 0:00\n"
    with Silent().task("x", 1) as advance:
        advance(1, total=2, loss=1.0)


def test_clock_face() -> None:
    assert [clock_face(s) for s in (0, 75.9, 3675)] == ["0:00", "1:15", "1:01:15"]
