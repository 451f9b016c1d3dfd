"""Clouds of points: panels on one scale, thinned, and text that is escaped."""

import re

import numpy as np

from audiojax.report.scatter import POINTS, SIDE, TOP, scatter_chart


def circles(svg):
    return [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)"', svg)]


def test_panels_share_their_axes_and_stay_inside():
    before, after = np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[0.0, 0.0], [4.0, -1.0]])
    found = circles(scatter_chart({"a": {"x": before}, "b": {"x": after}}, label="both"))
    assert len(found) == 4
    (first, second), (third, fourth) = found[:2], [(x - SIDE - 20, y) for x, y in found[2:]]
    np.testing.assert_allclose(first, third, atol=0.1)
    scale = (second[0] - first[0]) / 1.0
    np.testing.assert_allclose(fourth, (first[0] + 4 * scale, first[1] + scale), atol=0.2)
    assert all(0 <= x <= 2 * SIDE + 20 and TOP <= y <= TOP + SIDE for x, y in found)


def test_a_cloud_has_its_colour_in_every_panel_and_is_thinned():
    many = np.random.default_rng(0).normal(size=(5 * POINTS, 2))
    svg = scatter_chart({"a": {"x": many, "y": many[:3]}, "b": {"y": many[:1]}}, label="clouds")
    assert len(circles(svg)) == POINTS + 4
    assert svg.count('class="dot s1"') == 2
    assert svg.count('class="key') == 2


def test_one_point_and_names_with_marks():
    svg = scatter_chart({"<b>": {"a & b": np.zeros((1, 2))}}, label='say "it"')
    assert circles(svg) == [(SIDE / 2, TOP + SIDE / 2)]
    assert "&lt;b&gt;" in svg
    assert "a &amp; b" in svg
    assert "<b>" not in svg
