"""AudioMAE and BEATs from a waveform: front end, padding, resampling, masks, and what is refused."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.audio.io import resample
from audiojax.audio.spectral import log_mel
from audiojax.encoders.audiomae import AudioMae, AudioMaeConfig, pool_patches
from audiojax.encoders.beats import Beats, BeatsConfig
from audiojax.errors import UsageError
from audiojax.towers.spectrogram import AudioMaeTower, BeatsTower
from tests.encoders.filling import filled_variables, relative_error

AUDIOMAE = AudioMaeConfig(frames=48, mels=16, patch=8, width=16, layers=1, heads=2, blocks=1)
BEATS = BeatsConfig(mels=16, patch=4, embed=12, width=16, layers=1, heads=2, hidden=24, kernel=6, groups=4, buckets=8, max_distance=9)
SECOND = 16_000


def clips(seconds, rate=SECOND):
    """Two clips of slow noise, far below half of 16 kHz."""
    noise = np.random.default_rng(0).normal(size=(2, round(seconds * 500)))
    return np.stack([0.1 * resample(row, 500, rate) for row in noise.astype(np.float32)])


def tower(kind, module, shape):
    return kind(module, module.config, filled_variables(module, np.zeros(shape, np.float32)), None, Path("-"), "")


@pytest.fixture(scope="module")
def audiomae():
    return tower(AudioMaeTower, AudioMae(AUDIOMAE), (1, 48, 16))


@pytest.fixture(scope="module")
def beats():
    return tower(BeatsTower, Beats(BEATS), (1, 48, 16))


def test_audiomae_is_its_front_end_and_its_encoder(audiomae):
    """0.3 s are 28 frames; the other 20 are zeros before they are normalised."""
    waveform = clips(0.3)
    mel = np.array(jax.jit(lambda x: log_mel(x, AUDIOMAE.front_end))(waveform))
    assert mel.shape == (2, 48, 16)
    np.testing.assert_allclose(mel[:, 28:], 4.2677393 / (2 * 4.5689974), rtol=1e-5)
    out = audiomae(waveform)
    want = jax.jit(lambda v: audiomae.module.apply(v, mel, train=False))(audiomae.params)
    assert relative_error(out.features, np.asarray(want.features)) < 1e-4
    np.testing.assert_allclose(audiomae.condition(waveform, size=(3, 2)), pool_patches(out.features, (6, 2), (3, 2)), rtol=1e-6)


def test_beats_is_its_front_end_and_its_encoder(beats):
    waveform = clips(0.3)
    mel = np.array(jax.jit(lambda x: log_mel(x, BEATS.front_end))(waveform))
    assert mel.shape == (2, 28, 16)
    want = jax.jit(lambda v: beats.module.apply(v, mel, train=False))(beats.params)
    assert relative_error(beats(waveform).tokens, np.asarray(want.tokens)) < 1e-4


def test_other_rates_are_resampled(beats):
    at_48k = clips(0.3, 48_000)
    want = np.stack([resample(clip, 48_000, SECOND) for clip in at_48k])
    np.testing.assert_array_equal(beats(at_48k, 48_000).tokens, beats(want).tokens)
    np.testing.assert_array_equal(beats(want, SECOND).tokens, beats(want).tokens)


def test_a_mask_hides_padding(beats):
    """28 frames of 171 samples each in the mask: 1,368 samples are 8 frames, two columns of four tokens."""
    waveform, mask = clips(0.3), np.ones((2, 4_800), bool)
    mask[1, 1_368:] = False
    out = beats(waveform, mask=mask)
    assert [int(n) for n in jnp.sum(out.mask, axis=1)] == [28, 8]
    whole = beats(waveform)
    assert relative_error(out.pooled[0], np.asarray(whole.pooled)[0]) < 1e-5
    assert relative_error(out.pooled[1], np.asarray(whole.pooled)[1]) > 1e-2


@pytest.mark.parametrize(
    ("waveform", "options", "words"),
    [
        (np.zeros((1, 2, 4_800)), {}, r"has the shape \[2, 4800\]: one axis of samples is needed"),
        (np.zeros((1, 879)), {}, "879 samples are too short: pad them to 880 .at 16000 Hz"),
        (np.zeros((1, 2_000)), {"sample_rate": 48_000}, "are too short: pad them to 880"),
        ([np.zeros(4_800), np.zeros(4_000)], {"mask": np.ones((2, 4_800), bool)}, "2 clips of 2 lengths"),
        ([np.zeros(4_800), np.zeros(4_801)], {"mask": np.ones((2, 4_800), bool), "sample_rate": 48_000}, "2 clips of 2 lengths"),
        (np.zeros((2, 4_800)), {"mask": np.ones((2, 30), bool)}, r"a mask \(2, 30\) for clips \(2, 4800\)"),
    ],
)
def test_misuse(beats, waveform, options, words):
    with pytest.raises(UsageError, match=words):
        beats(waveform, **options)
