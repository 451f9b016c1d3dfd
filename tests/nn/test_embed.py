"""The sinusoidal table against its definition, entry by entry."""

import math

import numpy as np
import pytest

from audiojax.nn.embed import relative_buckets, sinusoidal_table, timestep_sinusoid


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


def test_relative_buckets_of_t5():
    """Published values for 32 buckets and 128 positions; keys after the query have the upper half."""
    expected = {-200: 15, -64: 14, -17: 10, -16: 10, -9: 8, -8: 8, -7: 7, -1: 1, 0: 0, 1: 17, 7: 23, 8: 24, 16: 26, 64: 30, 128: 31}
    table = relative_buckets(401)
    assert table.shape == (401, 401)
    assert {offset: table[200, 200 + offset] for offset in expected} == expected
    assert table[0, 400] == 31
    assert (np.diff(table[200, :201]) <= 0).all()
    assert (np.diff(table[200, 201:]) >= 0).all()
    np.testing.assert_array_equal(relative_buckets(7), table[:7, :7])


def test_relative_buckets_of_other_sizes():
    table = relative_buckets(900, buckets=320, max_distance=800)  # 80 distances have buckets of their own
    np.testing.assert_array_equal(table[0, 1:80], 160 + np.arange(1, 80))
    assert table[0, [777, 778, 899]].tolist() == [318, 319, 319]  # the last bucket begins at 80 * 10^(79/80) = 777.3
    assert set(range(320)) - set(table.flat) == {160}  # "after, at distance 0"


def test_relative_buckets_of_a_decoder():
    """All buckets look back: 16 distances of their own, then 16 shared ones; what comes after is never seen and has bucket 0."""
    table = relative_buckets(301, causal=True)
    assert {d: int(table[300, 300 - d]) for d in (0, 1, 15, 16, 18, 19, 31, 64, 113, 127, 128, 300)} == (
        {0: 0, 1: 1, 15: 15, 16: 16, 18: 16, 19: 17, 31: 21, 64: 26, 113: 31, 127: 31, 128: 31, 300: 31}
    )
    assert not table[np.triu_indices(301)].any()


def test_timesteps_are_cosines_then_sines():
    got = timestep_sinusoid(np.array([[0, 7], [981, 3]], np.int32), 6)
    assert got.shape == (2, 2, 6)
    want = [[f(t * 10_000 ** (-i / 3)) for f in (math.cos, math.sin) for i in range(3)] for t in (0, 7, 981, 3)]
    np.testing.assert_allclose(got.reshape(4, 6), want, atol=1e-4)
