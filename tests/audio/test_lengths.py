"""Length policies: closed forms on small integers."""

import numpy as np
import pytest

from audiojax.audio.lengths import crop, fit, repeat_pad, slide, window_starts, zero_pad

RAMP = np.arange(10, dtype=np.float32)


def test_crops():
    np.testing.assert_array_equal(crop(RAMP, 4), [0, 1, 2, 3])
    np.testing.assert_array_equal(crop(RAMP, 4, at="center"), [3, 4, 5, 6])
    np.testing.assert_array_equal(crop(RAMP, 20, at="center"), RAMP)
    starts = {int(crop(RAMP, 8, at="random", rng=np.random.default_rng(seed))[0]) for seed in range(30)}
    assert starts == {0, 1, 2}
    with pytest.raises(ValueError, match="generator"):
        crop(RAMP, 4, at="random")


def test_pads():
    np.testing.assert_array_equal(zero_pad(RAMP[:2], 5), [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(repeat_pad(RAMP[1:3], 5), [1, 2, 1, 2, 0])  # whole times, then zeros: CLAP's repeatpad
    np.testing.assert_array_equal(repeat_pad(RAMP[1:3], 5, whole=False), [1, 2, 1, 2, 1])
    np.testing.assert_array_equal(repeat_pad(RAMP, 4), RAMP)
    with pytest.raises(ValueError, match="empty"):
        repeat_pad(RAMP[:0], 4)


@pytest.mark.parametrize("short", ["repeat", "repeat_cut", "zero"])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 9])
def test_fit_always_gives_the_length(short, length):
    out = fit(RAMP[:length], 4, short=short, at="center")
    assert out.shape == (4,)
    assert out.dtype == np.float32


@pytest.mark.parametrize("length", [1, 5, 6, 7, 11, 12, 13, 18, 30])
@pytest.mark.parametrize("hop", [1, 2, 5, 6])
@pytest.mark.parametrize("block", [1, 4, 7, 100])
def test_sliding_over_blocks_equals_slicing_the_whole(length, hop, block):
    clip = np.arange(1, length + 1, dtype=np.float32)
    blocks = [clip[i : i + block] for i in range(0, length, block)]
    starts = window_starts(length, 6, hop)
    assert len(starts) == 1 + max(0, -(-(length - 6) // hop))
    windows = list(slide(iter(blocks), 6, hop))
    assert [first for first, _ in windows] == starts
    for first, window in windows:
        np.testing.assert_array_equal(window, fit(clip[first : first + 6], 6))
    heard = {value for _, window in windows for value in window.tolist()} - {0.0}
    assert heard == set(clip.tolist())  # nothing is lost


def test_slide_of_nothing_and_of_a_wrong_hop():
    assert list(slide([], 4, 2)) == []
    assert list(slide([RAMP[:0]], 4, 2)) == []
    for hop in (0, 5):
        with pytest.raises(ValueError, match="hop"):
            next(slide([RAMP], 4, hop))
