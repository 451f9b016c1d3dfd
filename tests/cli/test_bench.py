"""The table and the flags of `audiojax bench`."""

import pytest

from audiojax.bench.harness import Row
from audiojax.cli.bench import as_table

OURS = Row("case", "audiojax", 500, 0.1, 0.09, 5000.0, 3, 3, 2.5, 300.0, "gpu", "NVIDIA H100")
TORCH = Row("case", "torch eager float32", 200, 0.64, 0.6, 312.5, 2, 4, 0.5, 200.0)


def test_the_table_has_a_line_per_row():
    table = as_table([OURS, TORCH])
    assert table.title == "case"
    assert [len(row) for row in table.rows] == [len(table.columns)] * 2
    assert [row[0] for row in table.rows] == ["audiojax", "torch eager float32"]
    assert table.rows[0][table.columns.index("quiet")] == "3/3"
    assert table.rows[0][-1] == "–"


@pytest.mark.parametrize(("ratio", "note", "shown"), [(16.0, "noisy", "16"), (None, "no ratio: 2 quiet samples", "–")])
def test_noisy_and_refused_ratios_are_named_below(ratio, note, shown):
    table = as_table([OURS, Row(**(TORCH.as_dict() | {"ratio": ratio, "note": note}))])
    assert table.rows[1][-1] == shown
    assert f"torch eager float32: {note}" in table.note


def test_the_note_names_the_device_of_both_sides():
    assert "Ran on: audiojax: NVIDIA H100; torch eager float32: cpu." in as_table([OURS, TORCH]).note.splitlines()


@pytest.mark.parametrize("samples", ["1", "2"])
def test_fewer_samples_than_a_ratio_needs_are_refused(audiojax, samples):
    code, out, err = audiojax("bench", "--no-torch", "--samples", samples)
    assert (code, out) == (2, "")
    assert f"--samples: must be a whole number from 3 up, not '{samples}'" in err
