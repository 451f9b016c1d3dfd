"""Windows, crops and the shrunk view of clips against plain loops and literals; no network."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.audio.spectral import CLAP_48K, log_mel
from audiojax.towers import clap_features
from audiojax.towers.clap_features import PRESETS, ClapFrontEnd, crop_starts, frames_at, repeat_pad, shrink_taps, windows
from tests.towers.clap_cases import FRONT_ENDS, MEL, RATE, clips


def test_clips_of_the_checkpoints_have_1001_frames():
    assert PRESETS["rand_trunc"].frames == PRESETS["fusion"].frames == 1001
    assert PRESETS["tiny"].frames == 256


@given(st.integers(1, 50), st.integers(1, 60))
def test_short_clips_repeat_whole(n, samples):
    if n > samples:
        return
    clip = np.arange(1, n + 1, dtype=np.float32)
    filled = repeat_pad(clip, samples)
    whole = samples // n * n
    assert filled.shape == (samples,)
    np.testing.assert_array_equal(filled[:whole], [i % n + 1 for i in range(whole)])
    assert not filled[whole:].any()


@given(st.integers(1, 200), st.integers(1, 40))
def test_windows_cover_a_clip_and_end_with_it(n, samples):
    cut = list(windows(np.arange(n), samples))
    assert all(len(window) == samples for window in cut)
    assert len(cut) == max(-(-n // samples), 1)
    if n >= samples:
        assert set(np.concatenate(cut)) == set(range(n))
        assert [window[0] for window in cut[:-1]] == [i * samples for i in range(len(cut) - 1)]
        assert cut[-1][-1] == n - 1


def test_a_random_window_is_a_part_of_the_clip_drawn_by_its_seed():
    clip = np.arange(100)
    drawn = [clap_features.random_window(clip, 30, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], np.arange(30) + drawn[0][0])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert drawn[0][0] != drawn[2][0]
    starts = {int(clap_features.random_window(np.arange(4), 2, np.random.default_rng(seed))[0]) for seed in range(40)}
    assert starts == {0, 1, 2}  # the first and the last place as well


def test_crops_lie_in_their_thirds():
    assert crop_starts(60, 51, None) == [1, 5, 8]  # places 0-3, 4-6, 7-9
    assert crop_starts(52, 51, None) == [0, 1, 0]
    assert crop_starts(51, 51, None) == [0, 0, 0]
    drawn = np.array([crop_starts(60, 51, np.random.default_rng(seed)) for seed in range(60)])
    assert [set(column) for column in drawn.T] == [{0, 1, 2, 3}, {4, 5, 6}, {7, 8, 9}]


def test_shrinking_is_torchs_bilinear():
    """A literal of torch.nn.functional.interpolate(mode="bilinear", align_corners=False) over the squares of 0 to 6."""
    squares = np.arange(7.0) ** 2
    index, fraction = shrink_taps(7, 4)
    after = squares[np.minimum(index + 1, 6)]
    np.testing.assert_allclose(squares[index] + fraction * (after - squares[index]), [0.375, 4.625, 15.125, 31.875])
    index, fraction = shrink_taps(51, 51)
    np.testing.assert_array_equal(index, np.arange(51))
    assert not fraction.any()


@pytest.mark.parametrize("n", [8_001, 8_160, 11_003])
def test_frames_are_those_of_the_whole_clip(n):
    clip = clips([n])[0]
    padded = np.pad(clip, 256, mode="reflect")
    starts = np.array([0, 1, 7, n // 160 - 1, n // 160])
    want = [padded[160 * t : 160 * t + 512] for t in starts]
    np.testing.assert_array_equal(frames_at(clip, starts, MEL), want)


def test_a_long_clip_is_the_log_mel_of_the_whole_cropped_and_shrunk():
    clip, front_end = clips([20_011])[0], FRONT_ENDS["fused"]
    mel = np.asarray(log_mel(clip[None], front_end.mel))[0]
    found = clap_features.long_clip(clip, front_end)
    assert found.is_longer
    apart = replace(front_end.mel, padding="snip", hop=512)
    before, after, *crops = np.asarray(log_mel(found.frames.reshape(5, -1), apart))
    for start, crop in zip(crop_starts(len(mel), 51, None), crops, strict=True):
        np.testing.assert_allclose(crop, mel[start : start + 51], atol=2e-3)
    index, _ = shrink_taps(len(mel), 51)
    np.testing.assert_allclose(before, mel[index], atol=2e-3)
    np.testing.assert_allclose(after, mel[index + 1], atol=2e-3)


def test_a_clip_longer_by_less_than_a_frame_is_not_longer():
    assert not clap_features.long_clip(clips([8_100])[0], FRONT_ENDS["fused"]).is_longer
    assert clap_features.long_clip(clips([8_160])[0], FRONT_ENDS["fused"]).is_longer


def test_an_hour_is_looked_at_in_a_few_frames():
    hour = np.broadcast_to(np.float32(0.1), 3600 * RATE)  # takes no memory itself
    found = clap_features.long_clip(hour, FRONT_ENDS["fused"])
    assert found.frames.shape == (5, 51, 512)
    assert sum(1 for _ in windows(hour, RATE)) == 3600


def test_impossible_front_ends_are_refused():
    with pytest.raises(ValueError, match="100 samples"):
        ClapFrontEnd(CLAP_48K, 100)
    with pytest.raises(ValueError, match="400 samples in a transform of 512"):
        ClapFrontEnd(replace(MEL, win_length=400), RATE)
