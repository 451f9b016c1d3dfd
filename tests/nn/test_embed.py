"""The sinusoidal table against its definition, entry by entry."""

import math

import numpy as np
import pytest

from audiojax.nn.embed import sinusoidal_table


@pytest.mark.parametrize("width", [6, 7])
def test_every_entry_follows_the_formula(width):
    table = sinusoidal_table(40, width)
    for p in range(40):
        for c in range(width):
            angle = p / 10_000 ** ((c - c % 2) / width)
            assert table[p, c] == pytest.approx(math.sin(angle) if c % 2 == 0 else math.cos(angle), abs=1e-6)


def test_first_row_and_types():
    table = sinusoidal_table(3, 8)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table[0], [0, 1, 0, 1, 0, 1, 0, 1])


def test_rows_are_distinct_over_the_whole_range():
    table = sinusoidal_table(5000, 64).astype(np.float64)
    norms = np.linalg.norm(table, axis=1)
    np.testing.assert_allclose(norms, math.sqrt(32), rtol=1e-6)  # sin^2 + cos^2 of 32 angles
    assert np.min(np.linalg.norm(np.diff(table, axis=0), axis=1)) > 0.5
