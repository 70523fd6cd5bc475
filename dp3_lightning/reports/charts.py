"""Draw plots as SVG, for pages that load nothing from elsewhere."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

COLORS = ("#1f6feb", "#c77700", "#17543a", "#8c1d18", "#5b3b8c", "#5b6875")
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 26, 34


@dataclass(frozen=True)
class Series:
    """Hold points of one colour.

    Attributes:
        name: in the key.
        points: ``(x, y, label)``; the label shows when the pointer rests on the point.
        joined: draw a line through the points.
    """

    name: str
    points: Sequence[tuple[float, float, str]]
    joined: bool = False


def scatter(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    x_names: Sequence[str] = (),
    size: tuple[int, int] = (460, 220),
    x_mark: tuple[float, str] | None = None,
) -> str:
    """Plot points.

    Args:
        series: the points to plot; those that are not finite are left out.
        x_label: name of the x axis.
        y_label: name of the y axis.
        x_names: names of x = 0, 1, 2, ... instead of numbers.
        size: width and height in pixels.
        x_mark: an x to draw a dashed line at, and what it is.

    Returns:
        SVG, or a sentence when there is nothing to plot.
    """
    width, height = size
    shown = [
        [p for p in one.points if math.isfinite(p[0]) and math.isfinite(p[1])] for one in series
    ]
    flat = [point for points in shown for point in points]
    if not flat:
        return "<p>Nothing to plot.</p>"
    marked = [] if x_mark is None else [x_mark[0]]
    xs = _limits([p[0] for p in flat] + marked) if not x_names else (-0.5, len(x_names) - 0.5)
    ys = _limits([p[1] for p in flat])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - xs[0]) / (xs[1] - xs[0]) * (width - _LEFT - _RIGHT)
        up = (y - ys[0]) / (ys[1] - ys[0]) * (height - _TOP - _BOTTOM)
        return _LEFT + across, height - _BOTTOM - up

    parts = []
    for y, text in _ticks(*ys):
        _, at = place(xs[0], y)
        parts.append(
            f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" '
            f'stroke="#e3e7eb"/><text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}'
            "</text>"
        )
    named = [(float(x), name) for x, name in enumerate(x_names)]
    marks = named or _ticks(*xs)
    for x, name in marks:
        at, _ = place(x, ys[0])
        parts.append(
            f'<text x="{at:.1f}" y="{height - _BOTTOM + 14}" text-anchor="middle">'
            f"{html.escape(name)}</text>"
        )
    parts.append(
        f'<text x="{(width + _LEFT) / 2:.0f}" y="{height - 4}" text-anchor="middle">'
        f"{html.escape(x_label)}</text>"
        f'<text x="{_LEFT}" y="15" font-weight="600">{html.escape(y_label)}</text>'
    )
    if x_mark is not None:
        at, _ = place(x_mark[0], ys[0])
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}" '
            f'stroke="#8c1d18" stroke-dasharray="4 3"/><text x="{at - 4:.1f}" y="{_TOP + 10}" '
            f'fill="#8c1d18" text-anchor="end">{html.escape(x_mark[1])}</text>'
        )
    for number, (one, points) in enumerate(zip(series, shown, strict=True)):
        color = COLORS[number % len(COLORS)]
        placed = [(*place(x, y), label) for x, y, label in points]
        if one.joined and len(placed) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in placed)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{color}"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}" fill-opacity=".75">'
            f"<title>{html.escape(label)}</title></circle>"
            for x, y, label in placed
        ]
    key = "".join(
        f'<span><i style="background:{COLORS[n % len(COLORS)]}"></i>{html.escape(s.name)}</span>'
        for n, s in enumerate(series)
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(y_label)}" '
        f'font-size="11" fill="#1d2733">{"".join(parts)}</svg>'
        + (f'<p class="key">{key}</p>' if len(series) > 1 else "")
    )


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 0.1
    return low - room, high + room


def _ticks(low: float, high: float, wanted: int = 5) -> list[tuple[float, str]]:
    """Return round numbers between two limits, with as many digits as they need to differ."""
    rough = (high - low) / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    first = math.ceil(low / step)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    kind = f".{digits}f" if digits <= 5 and high < 1e6 else ".3g"
    return [(i * step, f"{i * step:{kind}}") for i in range(first, math.floor(high / step) + 1)]
