"""Line charts as inline SVG: no script, colours from the page's CSS, so that they follow its dark mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 14, 42


@dataclass(frozen=True)
class Line:
    """``points`` of (x, y); ``style`` is a CSS class of the page: "raw", "main" or "second"."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str = "main"
    dots: bool = False


def line_chart(title: str, lines: Sequence[Line], x_label: str, mark: tuple[float, float, str] | None = None) -> Markup:
    """One chart, or nothing where no line has a finite point.

    Args:
        title: read aloud in place of the picture, with each line's first and last value.
        mark: (x, y, text) of one point to be ringed and named.
    """
    lines = [Line(line.name, _finite(line.points), line.style, line.dots) for line in lines]
    lines = [line for line in lines if line.points]
    if not lines:
        return Markup("")
    xs, ys = ([point[axis] for line in lines for point in line.points] for axis in (0, 1))
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    x_low, x_high = min(xs[0], *xs), max(*xs, min(xs) + 1e-9)
    y_low, y_high = y_ticks[0], max(y_ticks[-1], y_ticks[0] + 1e-9)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    parts = [_grid(x_ticks, y_ticks, place, x_low, x_high)]
    for line in lines:
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line.points)
        parts.append(Markup('<polyline class="line {}" points="{}"/>').format(line.style, path))
        for x, y in line.points if line.dots or len(line.points) == 1 else []:
            parts.append(
                Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(line.style, *place(x, y))
            )
    if mark and math.isfinite(mark[1]):
        parts.append(_mark(*place(mark[0], mark[1]), mark[2]))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(middle, HEIGHT - 6, x_label)
    )
    told = "; ".join(f"{line.name} from {line.points[0][1]:.4g} to {line.points[-1][1]:.4g}" for line in lines)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, f"{title}: {told}", Markup("").join(parts)
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that hold ``low`` … ``high``, about ``count`` of them."""
    if not high > low:
        half = abs(low) * 0.1 or 0.5
        low, high = low - half, high + half
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def smooth(points: Sequence[tuple[float, float]], share: float = 0.05) -> list[tuple[float, float]]:
    """An average of ``y`` over a centred window of ``share`` of all points: a trend beside the noise."""
    reach = max(1, int(len(points) * share / 2))
    found = []
    for i, (x, _) in enumerate(points):
        near = [y for _, y in points[max(0, i - reach) : i + reach + 1]]
        found.append((x, sum(near) / len(near)))
    return found


def _grid(x_ticks: list[float], y_ticks: list[float], place, x_low: float, x_high: float) -> Markup:  # type: ignore[no-untyped-def]
    parts = []
    for y in y_ticks:
        _, down = place(x_low, y)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, down, down
            )
        )
        parts.append(
            Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{:.4g}</text>').format(LEFT - 7, down + 4, y)
        )
    for x in x_ticks:
        if x_low <= x <= x_high:
            across, _ = place(x, y_ticks[0])
            drawn = Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{:,.4g}</text>')
            parts.append(drawn.format(across, HEIGHT - BOTTOM + 18, x))
    return Markup("").join(parts)


def _mark(across: float, down: float, text: str) -> Markup:
    anchor = "end" if across > WIDTH * 0.6 else "start"
    shift = -9 if anchor == "end" else 9
    below = down + 24 if down < HEIGHT / 2 else down - 12
    return Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="7"/>').format(across, down) + Markup(
        '<text class="note" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    ).format(across + shift, below, anchor, escape(text))


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)]
