"""The page: every section is there, every string is escaped, nothing is fetched."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from audiojax.report.curves import line_chart, ticks
from audiojax.report.html import bar, render, write_report
from audiojax.report.sections import Card, Curves, Hit, Metric, MetricTable, Note, Sound, Sounds, Table, TopList, TopLists

EVIL = '"><script>alert(1)</script>&<b>'
VOID = {"meta", "img", "br", "rect", "line", "circle", "polyline", "link", "input"}


class Page(HTMLParser):
    """Checks that tags nest, and collects attributes and text."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def sound(name: str, caption: str = "") -> Sound:
    return Sound(0.1 * np.sin(np.arange(1600) * (len(name) + 1) / 9), 16_000, name, caption)


@pytest.fixture
def page() -> Page:
    sections = [
        Note("About " + EVIL, ["First " + EVIL, "Second"]),
        MetricTable("Scores", [Metric("R@10", 0.5, 0.4, 0.6, 0.1, 0.9), Metric("MedR", 3, percent=False, lower_is_better=True)], EVIL),
        Table("Grid", ("system", "R@1"), [(EVIL, 0.25), ("b", 1)]),
        Curves("Loss", {EVIL: ([0, 1, 2], [3.0, 2.0, 1.0])}),
        TopLists("Searches", [TopList(EVIL, [Hit(sound("a", EVIL), 0.9, False), Hit(sound(EVIL), 0.8, True)], 2, sound("bb"))]),
        Sounds("Samples", [sound("ccc", "rain")]),
        Card("Card", {"seed": 20, "hash": EVIL}),
    ]
    return Page(render(title="Title " + EVIL, subtitle="Sub " + EVIL, sections=sections))


def test_every_section_has_a_heading_and_a_link_to_it(page):
    targets = {link["href"] for link in page.all("a")}
    assert targets == {f"#{section['id']}" for section in page.all("section")}
    assert len(targets) == 7
    for words in ("About", "Scores", "Grid", "Loss", "Searches", "Samples", "Card"):
        assert words in page.text


def test_nothing_that_comes_from_outside_becomes_markup(page):
    assert page.all("script") == []
    assert page.all("b") == []
    assert page.text.count("alert(1)") >= 10


def test_the_page_fetches_nothing(page):
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "script")
        for name in ("src", "href", "srcset", "data", "poster"):
            value = attributes.get(name, "#")
            assert value.startswith(("data:", "#")), f"{tag} {name}={value[:60]}"
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy
    style = page.words[[w for w, text in enumerate(page.words) if ":root" in text][0]]
    assert "url(" not in style
    assert "@import" not in style


def test_metrics_stand_beside_chance_ceiling_and_interval(page):
    assert "50.0 % [40.0 %, 60.0 %]" in page.text
    assert "10.0 %" in page.text
    assert "90.0 %" in page.text
    assert "50 %" in page.text  # half of the way
    assert "(lower is better)" in page.text


def test_every_picture_has_words_and_every_player_a_name(page):
    assert len(page.all("audio")) == len(page.all("img")) == 4
    assert all(picture["alt"] for picture in page.all("img"))
    assert all(player["aria-label"] for player in page.all("audio"))
    assert all(chart["aria-label"] for chart in page.all("svg") if chart.get("class") == "chart")


def test_the_right_hit_is_marked_in_words(page):
    assert page.text.count("✓ right") == 1
    assert "the right one is at rank 2" in page.text
    assert "what was meant" in page.text


def test_write_report_replaces_the_file_whole(tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(path, title="one", sections=[])
    assert write_report(path, title="two", sections=[]) == path
    assert "<title>two</title>" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="mono"):
        write_report(path, title="bad", sections=[Sounds("s", [Sound(np.zeros((2, 9)), 16_000, "x")])])
    assert "<title>two</title>" in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_bar_shows_fractions_only():
    drawn = bar(Metric("R@1", 0.25, 0.2, 1.4, chance=0.01, ceiling=0.8))
    assert 'width="25.00"' in drawn
    assert 'x1="20.00" x2="100.00"' in drawn
    assert 'class="chance" x1="1.00"' in drawn
    assert bar(Metric("MedR", 3, percent=False)) == ""


def test_progress_is_the_share_of_the_way_in_both_directions():
    assert Metric("R@1", 0.5, chance=0.1, ceiling=0.9).progress == pytest.approx(0.5)
    assert Metric("MedR", 5.0, chance=9.0, ceiling=1.0, lower_is_better=True).progress == pytest.approx(0.5)
    assert Metric("R@1", 0.5, chance=0.1).progress is None
    assert Metric("R@1", 1.0, chance=1.0, ceiling=1.0).progress is None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-3, 3, [-2, 0, 2]),
        (5, 5, [5]),
        (0.1, 0.35, [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_chart_leaves_out_what_cannot_be_drawn():
    points = line_chart({"a": ([0, 1, 2], [1.0, float("nan"), 2.0])}, label="x").split('points="')[1].split('"')[0]
    assert len(points.split()) == 2
    assert "No values" in line_chart({"a": ([], []), "b": ([0], [-1.0])}, label="x", log_y=True)
    assert "<circle" in line_chart({"a": ([3], [1.0])}, label="x")


def test_chart_thins_long_series_by_means():
    drawn = line_chart({"a": (range(10_000), [0.0, 1.0] * 5_000)}, label="x")
    points = drawn.split('points="')[1].split('"')[0].split()
    assert len(points) <= 600
