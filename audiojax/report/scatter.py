"""Clouds of points as inline SVG that follows the page's colours: panels side by side on the same axes."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape

SIDE, GAP, TOP = 340, 20, 24  # of a panel; TOP is room for its name
POINTS = 400  # of a cloud; a larger one is thinned evenly
RADIUS = 2.4

Clouds = Mapping[str, Float[np.ndarray, "_ 2"]]


def scatter_chart(panels: Mapping[str, Clouds], *, label: str) -> Markup:
    """An accessible SVG of panels, name -> clouds, all on one scale; colours come from the page's --series-0 ... --series-5.

    Args:
      panels: cloud name -> points [n, 2]; a cloud has the colour of its place among all names.
      label: what a screen reader says.
    """
    names = list(dict.fromkeys(name for clouds in panels.values() for name in clouds))
    everything = np.concatenate([points for clouds in panels.values() for points in clouds.values()])
    middle, span = (everything.max(axis=0) + everything.min(axis=0)) / 2, max(float(np.ptp(everything, axis=0).max()), 1e-9)
    width = len(panels) * (SIDE + GAP) - GAP
    parts = [f'<svg class="chart" viewBox="0 0 {width} {SIDE + TOP}" role="img" aria-label="{escape(label)}">']
    for number, (title, clouds) in enumerate(panels.items()):
        left = number * (SIDE + GAP)
        parts.append(f'<text class="axis" x="{left + SIDE / 2:.0f}" y="15" text-anchor="middle">{escape(title)}</text>')
        parts.append(f'<rect class="grid" x="{left}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none"/>')
        for name, points in clouds.items():
            kept = points[np.unique(np.linspace(0, len(points) - 1, min(POINTS, len(points))).astype(int))]
            place = (kept - middle) / span * 0.94 * SIDE + SIDE / 2
            circles = "".join(f'<circle cx="{left + x:.1f}" cy="{TOP + SIDE - y:.1f}" r="{RADIUS}"/>' for x, y in place)
            parts.append(f'<g class="dot s{names.index(name) % 6}" fill-opacity="0.6">{circles}</g>')
    legend = "".join(f'<li><span class="key s{i % 6}"></span>{escape(name)}</li>' for i, name in enumerate(names))
    return Markup("".join(parts) + f'</svg><ul class="legend">{legend}</ul>')
