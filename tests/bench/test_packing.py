"""The packing bench at toy sizes: all sides run and do the same work."""

import pytest

from audiojax.bench import packing
from audiojax.bench.harness import Side
from audiojax.errors import AudiojaxError


def test_all_sides_run():
    rows = packing.run(small=True, samples=1, attempts=1, allow_noise=True)
    assert [row.side for row in rows] == ["audiojax", "soundfile + soxr", "soundfile + soxr, stored"]
    assert [row.items for row in rows] == [4, 4, 4]
    assert all(row.ratio > 0 for row in rows[1:])


def test_clips_of_another_length_are_refused():
    with pytest.raises(AudiojaxError, match=r"loop makes clips of 3 samples and audiojax of 4: not the same work"):
        packing.check(Side("loop", "", {}), {"length": 3}, {"length": 4})
