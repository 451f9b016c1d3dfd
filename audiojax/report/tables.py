"""The same numbers for a terminal (rich tables) and for a program (CSV and JSON files)."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from audiojax.errors import UsageError
from audiojax.files import write_whole
from audiojax.report.sections import Card, Metric, MetricTable, Note, Table


def show_number(value: object) -> str:
    """Numbers with four significant digits and thousands separators, None as a dash, anything else as its text."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    if isinstance(value, int) or float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{float(value):,.4g}" if abs(value) < 10_000 else f"{float(value):,.0f}"


def show_plain(value: object) -> str:
    """As `show_number`, but whole numbers without separators: seeds, hashes and counts are copied from a card."""
    return str(value) if isinstance(value, int) else show_number(value)


def show_metric(metric: Metric, value: float | None) -> str:
    """A value in the metric's own unit: "43.2 %" for fractions, the number otherwise."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if metric.percent else show_number(value)


def show_share(value: float) -> str:
    """A fraction as whole per cent, never "-0 %"."""
    return f"{round(100 * value)} %"


def is_numeric(table: Table, column: int) -> bool:
    """Whether every filled cell of the column is a number."""
    cells = [row[column] for row in table.rows if row[column] is not None]
    return bool(cells) and all(isinstance(cell, Real) and not isinstance(cell, bool) for cell in cells)


def as_table(section: MetricTable) -> Table:
    """The metric table as plain columns; chance, ceiling and interval appear only where some metric has them."""
    metrics = section.metrics
    columns = ["metric", "value"]
    pick = [lambda m: m.name, lambda m: show_metric(m, m.value)]
    if any(m.low is not None for m in metrics):
        columns.append("95 % interval")
        pick.append(lambda m: "–" if m.low is None else f"{show_metric(m, m.low)} to {show_metric(m, m.high)}")
    for name in ("chance", "ceiling"):
        if any(getattr(m, name) is not None for m in metrics):
            columns.append(name)
            pick.append(lambda m, name=name: show_metric(m, getattr(m, name)))
    if any(m.progress is not None for m in metrics):
        columns.append("of the way")
        pick.append(lambda m: "–" if m.progress is None else show_share(m.progress))
    return Table(section.title, columns, [[get(m) for get in pick] for m in metrics], section.note)


def rich_table(section: MetricTable | Table | Card) -> RichTable:
    """The cells of a section for `rich.print`, without title and note; cells are literal text, never markup."""
    if isinstance(section, Card):
        section = Table(section.title, ("", ""), [(name, show_plain(value)) for name, value in section.items.items()], section.note)
    numeric_text = isinstance(section, MetricTable)
    table = as_table(section) if isinstance(section, MetricTable) else section
    made = RichTable(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    made.show_header = any(table.columns)
    for i, column in enumerate(table.columns):
        right = (numeric_text and i > 0) or is_numeric(table, i)
        words = " ".join([column, *(show_number(row[i]) for row in table.rows)]).split()
        widest = min(24, max(map(len, words), default=0))  # break lines between words while there is room
        made.add_column(Text(column), justify="right" if right else "left", no_wrap=right, overflow="fold", min_width=widest)
    for row in table.rows:
        made.add_row(*(Text(show_number(cell)) for cell in row))
    return made


def print_section(section: MetricTable | Table | Card | Note, *, console: Console | None = None) -> None:
    """Prints one section to the console (standard output by default)."""
    console = console or Console()
    console.print(Text(section.title, style="bold"))
    if isinstance(section, Note):
        console.print(Text("\n".join(section.paragraphs)), "")
        return
    table = rich_table(section)
    narrowest = sum(column.min_width + 2 for column in table.columns)
    console.print(table, width=max(console.width, narrowest), crop=False)  # a cell is never cut off
    console.print(Text(section.note + "\n" if section.note else ""))


def metric_rows(tables: Iterable[MetricTable]) -> list[dict[str, object]]:
    """One flat row per metric, raw values: table, metric, value, low, high, chance, ceiling."""
    names = ("value", "low", "high", "chance", "ceiling")
    return [{"table": t.title, "metric": m.name} | {name: getattr(m, name) for name in names} for t in tables for m in t.metrics]


def write_file(
    path: str | Path, rows: Sequence[Mapping[str, object]], *, extra: Mapping[str, object] | None = None, columns: Sequence[str] = ()
) -> Path:
    """Writes rows as .csv or .json (chosen by the ending) and returns the path; the file appears whole or not at all.

    Args:
      path: ends in .csv or .json; its folder is made.
      rows: flat records; a CSV gets the union of their keys, in order of first appearance.
      extra: for JSON only: {**extra, "rows": rows} instead of the bare list.
      columns: for CSV only: those that come first, also where there is no row.

    Raises:
      UsageError: another ending, or the place cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".json"):
        raise UsageError(f"{path}: the name must end in .csv or .json")
    if path.suffix == ".json":
        content = json.dumps({**extra, "rows": list(rows)} if extra else list(rows), indent=2, ensure_ascii=False, default=_plain) + "\n"
    else:
        columns = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        content = buffer.getvalue()
    return write_whole(path, content)


def _plain(value: object) -> object:
    """numpy scalars and arrays as JSON values, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
