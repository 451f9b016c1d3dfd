"""Resampling on the device: against scipy with the same kernel, against soxr, and what a sine becomes."""

import jax
import numpy as np
import pytest
from scipy.signal import resample_poly

from audiojax.audio.io import resample
from audiojax.audio.resampling import _kernel, resampled

RATES = [(16_000, 48_000), (48_000, 16_000), (44_100, 48_000), (16_000, 24_000)]


@pytest.mark.parametrize(("rate", "to_rate"), RATES)
@pytest.mark.parametrize("samples", [1, 17, 4_001])
def test_it_is_what_scipy_gives_for_this_kernel(rate, to_rate, samples):
    clips = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)
    up, down = (value // np.gcd(rate, to_rate) for value in (to_rate, rate))
    found = np.asarray(jax.jit(resampled, static_argnums=(1, 2))(clips, rate, to_rate))
    expected = resample_poly(clips.astype(np.float64), up, down, axis=1, window=_kernel(up, down) / up)
    assert found.shape == expected.shape == (2, -(-samples * up // down))
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(("rate", "to_rate"), RATES)
def test_a_tone_stays_a_tone_and_soxr_agrees(rate, to_rate):
    tone = np.sin(2 * np.pi * 1_000 * np.arange(rate // 2) / rate).astype(np.float32)
    found = np.asarray(resampled(tone[None], rate, to_rate))[0]
    inside = slice(to_rate // 20, -to_rate // 20)
    np.testing.assert_allclose(found[inside], np.sin(2 * np.pi * 1_000 * np.arange(to_rate // 2) / to_rate)[inside], atol=1e-4)
    np.testing.assert_allclose(found[inside], resample(tone, rate, to_rate)[inside], atol=1e-3)


def test_what_the_lower_rate_cannot_hold_goes():
    tone = np.sin(2 * np.pi * 12_000 * np.arange(24_000) / 48_000).astype(np.float32)
    assert np.abs(np.asarray(resampled(tone[None], 48_000, 16_000))[0, 500:-500]).max() < 1e-5


def test_the_same_rate_changes_nothing():
    clips = np.ones((1, 5), np.float32)
    assert resampled(clips, 8_000, 8_000) is clips
