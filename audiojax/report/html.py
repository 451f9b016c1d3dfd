"""The HTML report: one file with its style, sounds and pictures inside, readable by screen readers, in light and dark."""

from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import audiojax
from audiojax.files import write_whole
from audiojax.report.curves import line_chart
from audiojax.report.pictures import spectrogram_png
from audiojax.report.players import audio_uri, data_uri
from audiojax.report.scatter import scatter_chart
from audiojax.report.sections import Curves, Metric, MetricTable, Scatter, Section, Sound
from audiojax.report.tables import is_numeric, show_metric, show_number, show_plain, show_share


def write_report(path: str | Path, *, title: str, sections: Sequence[Section], subtitle: str = "") -> Path:
    """Writes the page and returns its path; the file appears whole or not at all.

    Every string of the sections is escaped. Each distinct clip is encoded and drawn once.

    Args:
      path: the .html file; its folder is made.
      title: the page's heading.
      sections: parts of `audiojax.report.sections`, in order.
      subtitle: a line below the heading, "" for none.
    """
    return write_whole(path, render(title=title, sections=sections, subtitle=subtitle))


def render(*, title: str, sections: Sequence[Section], subtitle: str = "") -> str:
    """The page as a string; arguments as in `write_report`."""
    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    media: dict[tuple[str, int], str] = {}

    def once(kind: str, sound: Sound, make: Callable[[], str]) -> str:
        key = (kind, id(sound.waveform))
        if key not in media:
            media[key] = make()
        return media[key]

    return environment.get_template("report.html").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        css=Markup((folder / "report.css").read_text(encoding="utf-8")),
        version=audiojax.__version__,
        kind_of=lambda section: type(section).__name__,
        has_of=_filled,
        is_numeric=is_numeric,
        show=show_metric,
        number=show_number,
        share=show_share,
        plain=show_plain,
        bar=bar,
        chart=_chart,
        scatter=_scatter,
        span=lambda sound: f"{len(sound.waveform) / sound.sample_rate:.2f} s, 40 Hz to {sound.sample_rate / 2000:g} kHz (mel scale)",
        player=lambda sound: once("audio", sound, lambda: audio_uri(sound.waveform, sound.sample_rate)),
        picture=lambda sound: once("picture", sound, lambda: data_uri(spectrogram_png(sound.waveform, sound.sample_rate), "image/png")),
    )


def bar(metric: Metric) -> Markup:
    """An SVG bar from 0 to 100 % with interval and marks for chance and ceiling; empty for metrics that are no fractions."""
    if not metric.percent:
        return Markup("")

    def x(value: float) -> str:
        return f"{100 * min(max(value, 0.0), 1.0):.2f}"

    parts = [
        '<svg viewBox="0 0 100 22" preserveAspectRatio="none" aria-hidden="true">',
        '<rect class="track" x="0" y="6" width="100" height="10"/>',
        f'<rect class="fill" x="0" y="6" width="{x(metric.value)}" height="10"/>',
    ]
    if metric.low is not None and metric.high is not None:
        parts.append(f'<line class="interval-line" x1="{x(metric.low)}" x2="{x(metric.high)}" y1="11" y2="11"/>')
    for name in ("chance", "ceiling"):
        mark = getattr(metric, name)
        if mark is not None:
            parts.append(f'<line class="{name}" x1="{x(mark)}" x2="{x(mark)}" y1="1" y2="21"/>')
    return Markup("".join(parts) + "</svg>")


def _filled(table: MetricTable) -> dict[str, bool]:
    """Which optional columns some metric of the table fills."""
    has = {name: any(getattr(m, name) is not None for m in table.metrics) for name in ("chance", "ceiling", "progress")}
    return has | {"bar": any(m.percent for m in table.metrics), "interval": any(m.low is not None for m in table.metrics)}


def _scatter(section: Scatter) -> Markup:
    return scatter_chart(section.panels, label=f"{section.title}: {', '.join(section.panels)}")


def _chart(curves: Curves) -> Markup:
    label = f"{curves.title}: {', '.join(curves.series)} over {curves.x_label}"
    return line_chart(curves.series, label=label, y_label=curves.y_label, x_label=curves.x_label, log_y=curves.log_y)
