"""Training curves as inline SVG that follows the page's colours."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from markupsafe import Markup, escape

WIDTH, HEIGHT = 720, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 36
POINTS = 600  # a longer series is thinned to block means

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) inside [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    gap = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    first = math.ceil(low / gap - 1e-9)
    return [round(k * gap, 12) for k in range(first, math.floor(high / gap + 1e-9) + 1)]


def _thin(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """The points, or at most POINTS means of equal blocks of them."""
    block = math.ceil(len(xs) / POINTS)
    return [(fmean(xs[i : i + block]), fmean(ys[i : i + block])) for i in range(0, len(xs), block)]


def line_chart(series: Series, *, label: str, y_label: str = "", x_label: str = "step", log_y: bool = False) -> Markup:
    """An accessible SVG line chart; colours come from the page's --series-0 ... --series-5.

    Args:
      series: name -> (x [n], y [n]); empty series and values that are not finite (or not positive under log_y) are left out.
      label: what a screen reader says.
    """
    lines = {}
    for name, (xs, ys) in series.items():
        points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log_y)]
        if points:
            thinned = _thin(*zip(*points, strict=True))
            lines[name] = [(x, math.log10(y)) for x, y in thinned] if log_y else thinned
    if not lines:
        return Markup('<p class="note">No values were logged.</p>')
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    x0, x1 = min(xs), max(max(xs), min(xs) + 1e-9)
    y0, y1 = min(ys), max(ys)
    margin = 0.05 * (y1 - y0) or 0.5 * abs(y1) or 0.5
    y0, y1 = (max(0.0, y0 - margin) if min(ys) >= 0 and not log_y else y0 - margin), y1 + margin

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for y in ticks(y0, y1):
        _, py = at(x0, y)
        text = f"{10**y:.3g}" if log_y else f"{y:.6g}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py:.1f}" y2="{py:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{py + 4:.1f}" text-anchor="end">{text}</text>')
    for x in ticks(x0, x1, 6):
        px, _ = at(x, y0)
        parts.append(f'<text class="tick" x="{px:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:,.6g}</text>')
    for i, points in enumerate(lines.values()):
        path = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in points)
        if len(points) == 1:
            px, py = at(*points[0])
            parts.append(f'<circle class="dot s{i % 6}" cx="{px:.1f}" cy="{py:.1f}" r="3"/>')
        parts.append(f'<polyline class="line s{i % 6}" points="{path}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="axis" x="{middle:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    if y_label:
        half = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(f'<text class="axis" transform="translate(13 {half:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    parts.append("</svg>")
    legend = "".join(f'<li><span class="key s{i % 6}"></span>{escape(name)}</li>' for i, name in enumerate(lines))
    return Markup("".join(parts) + f'<ul class="legend">{legend}</ul>')
