"""Console tables and machine-readable files hold the same numbers."""

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from audiojax.errors import UsageError
from audiojax.report.sections import Card, Metric, MetricTable, Table
from audiojax.report.tables import metric_rows, print_section, show_number, show_share, write_file

SCORES = MetricTable("Text to audio", [Metric("R@10", 0.5, 0.4, 0.6, 0.1, 0.9), Metric("MedR", 3.0, percent=False)])


def printed(section) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_section(section, console=console)
    return console.file.getvalue()


def test_metric_table_shows_value_interval_chance_and_ceiling():
    line = next(line for line in printed(SCORES).splitlines() if "R@10" in line)
    assert line.split() == ["R@10", "50.0", "%", "40.0", "%", "to", "60.0", "%", "10.0", "%", "90.0", "%", "50", "%"]


def test_words_stay_whole_in_a_narrow_terminal():
    console = Console(file=io.StringIO(), width=80)
    columns = ("direction", "score", "R@1", "R@5", "R@10", "mAP@10", "alpha", "temperature", "pi", "top-1 changed")
    row = ("Text to audio", "cosine", "5.0", "21.0", "50.0", "14.5", "0.01", "10", "0.046 to 0.055", "100.0 %")
    print_section(Table("t", columns, [row]), console=console)
    words = console.file.getvalue().split()
    assert {"temperature", "direction", "cosine", "changed", "audio"} <= set(words)


def test_a_share_just_below_zero_has_no_sign():
    assert show_share(-0.001) == "0 %"
    assert show_share(-0.03) == "-3 %"


def test_columns_that_nobody_fills_are_left_out():
    text = printed(MetricTable("t", [Metric("R@1", 0.25)]))
    assert "chance" not in text
    assert "interval" not in text


def test_cells_are_text_not_markup():
    assert "[bold]x[/bold]" in printed(Table("t", ("a", "b"), [("[bold]x[/bold]", 1)]))
    assert "[red]" in printed(Card("c", {"hash": "[red]"}))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (3, "3"), (12345, "12,345"), (0.123456, "0.1235"), (2.0, "2"), (True, "True"), ("x", "x"), (123456.7, "123,457")],
)
def test_numbers_are_short(value, shown):
    assert show_number(value) == shown


def test_files_hold_raw_values(tmp_path):
    rows = metric_rows([SCORES])
    path = write_file(tmp_path / "new" / "m.json", rows, extra={"seed": np.int64(20)})
    loaded = json.loads(path.read_text(encoding="utf-8"))
    assert loaded["seed"] == 20
    assert loaded["rows"][0] == {
        "table": "Text to audio",
        "metric": "R@10",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "chance": 0.1,
        "ceiling": 0.9,
    }
    with write_file(tmp_path / "m.csv", rows).open(newline="", encoding="utf-8") as handle:
        read = list(csv.DictReader(handle))
    assert [row["metric"] for row in read] == ["R@10", "MedR"]
    assert read[1]["low"] == ""


def test_csv_takes_rows_of_different_keys(tmp_path):
    path = write_file(tmp_path / "a.csv", [{"a": 1}, {"b": "x,y"}])
    assert path.read_text(encoding="utf-8") == 'a,b\n1,\n,"x,y"\n'


def test_other_endings_and_bad_places_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"m\.txt: the name must end in \.csv or \.json"):
        write_file(tmp_path / "m.txt", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_file(tmp_path / "file" / "m.csv", [])
