"""Lengths of sounds and latents, and references: what is heard of them, what is kept, and what cannot be used."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.audio.spectral import AUDIOLDM_16K, log_mel
from audiojax.errors import UsageError
from audiojax.models import hifigan, unet, vae
from audiojax.papers.re_audioldm.clips import MOST_SECONDS, geometry_of, reference_of, samples_of, with_kept

UNET, VAE, VOCODER = unet.PRESETS["audioldm-s"], vae.PRESETS["audioldm"], hifigan.PRESETS["audioldm"]
GEOMETRY = geometry_of(UNET, VAE, VOCODER)
RATE = 16_000
TONE = (0.1 + 0.2 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)


def test_the_published_networks_go_together():
    assert (GEOMETRY.mel, GEOMETRY.latent, GEOMETRY.unit, GEOMETRY.bins, GEOMETRY.channels) == (AUDIOLDM_16K, 640, 8, 16, 8)
    assert GEOMETRY.frames(163_840) == 256
    assert VOCODER.samples(512) == 81_952


def test_silence_is_the_floor_of_the_front_end():
    mel = log_mel(jnp.zeros((1, 163_840)), AUDIOLDM_16K)
    assert mel.shape == (1, 1024, 64)
    np.testing.assert_allclose(mel, -11.5129, atol=1e-4)


@given(st.integers(1, 60 * RATE))
def test_a_sound_fits_its_latents_with_less_than_a_unit_to_spare(samples):
    frames = GEOMETRY.frames(samples)
    assert frames % 8 == 0
    assert 0 <= frames * 640 - samples < 8 * 640
    assert VOCODER.samples(4 * frames) >= samples


@pytest.mark.parametrize(
    ("networks", "words"),
    [
        ((replace(UNET, latent_channels=4), VAE, VOCODER), "latents of 4 channels beside an autoencoder of 8"),
        ((UNET, VAE, replace(VOCODER, mels=80)), "80 mel bins, which 4 x 8 of autoencoder and U-Net do not divide"),
        ((UNET, VAE, replace(VOCODER, sample_rate=48_000)), "a vocoder for 48000 Hz"),
        ((UNET, VAE, replace(VOCODER, rates=(5, 5, 5, 1, 1))), "padding 'same' needs n_fft - hop even"),
    ],
)
def test_networks_that_do_not_go_together(networks, words):
    with pytest.raises(UsageError, match=words):
        geometry_of(*networks)


def test_a_reference_is_heard_without_its_mean_at_half_the_scale():
    reference = reference_of(TONE, GEOMETRY)
    assert (reference.length, reference.hole, reference.kept(GEOMETRY)) == (2 * RATE, None, None)
    assert len(reference.sound) == GEOMETRY.frames(2 * RATE) * 640
    np.testing.assert_allclose(np.abs(reference.sound).max(), 0.5, rtol=1e-4)
    np.testing.assert_allclose(reference.sound[: 2 * RATE] / reference.gain + reference.mean, TONE, atol=1e-5)
    np.testing.assert_array_equal(reference.sound[2 * RATE :], reference.sound[2 * RATE - 1 : -len(reference.sound) + 4 * RATE - 1 : -1])
    assert reference_of(TONE, GEOMETRY, seconds=1.5).length == 1.5 * RATE


def test_frames_that_a_hole_touches_are_made_anew():
    kept = reference_of(TONE, GEOMETRY, inpaint=(0.5, 1.0)).kept(GEOMETRY)  # samples 8000 to 16000
    np.testing.assert_array_equal(np.flatnonzero(~kept), [*range(12, 25), *range(50, 56)])  # the sound ends at frame 50
    extended = reference_of(TONE, GEOMETRY, extend=0.5)
    assert (extended.length, extended.hole) == (2.5 * RATE, (2 * RATE, 2.5 * RATE))
    np.testing.assert_array_equal(np.flatnonzero(~extended.kept(GEOMETRY)), np.arange(50, 64))


@given(st.floats(0, 1.9), st.floats(0.01, 0.1))
def test_samples_away_from_a_hole_are_the_references_own(start, width):
    reference = reference_of(TONE, GEOMETRY, inpaint=(start, start + width))
    mixed = with_kept(np.zeros(2 * RATE, np.float32), reference, RATE)
    away = np.ones(2 * RATE, bool)
    away[max(0, reference.hole[0] - 321) : reference.hole[1] + 321] = False
    np.testing.assert_allclose(mixed[away], TONE[away], atol=1e-6)
    np.testing.assert_allclose(with_kept(reference.sound[: 2 * RATE], reference, RATE), TONE, atol=1e-6)


@pytest.mark.parametrize(
    ("samples", "options", "words"),
    [
        (0 * TONE, {}, "the reference is silent"),
        (TONE, {"seconds": 3}, "seconds is 3, and the reference lasts 2.00 s; make it longer with extend"),
        (TONE, {"seconds": -1}, "seconds is -1; a number above 0 and up to 60"),
        (TONE, {"extend": 0}, "extend is 0; a number above 0"),
        (TONE, {"extend": 59}, "the length of the result is 61"),
        (TONE, {"inpaint": (1, 2.5)}, "inpaint is 1 to 2.5 s; a stretch of the reference is needed, which lasts 2.00 s"),
        (TONE, {"inpaint": (1, 1)}, "inpaint is 1 to 1 s"),
        (TONE, {"inpaint": (0, 1), "extend": 1}, "one at a time"),
    ],
)
def test_what_cannot_be_made_of_a_reference_is_named(samples, options, words):
    with pytest.raises(UsageError, match=words):
        reference_of(samples, GEOMETRY, **options)


@pytest.mark.parametrize("seconds", [0, -1, MOST_SECONDS + 1, float("nan"), "ten", 1e-9])
def test_lengths_that_are_none(seconds):
    with pytest.raises(UsageError, match="seconds is"):
        samples_of(seconds, RATE)
