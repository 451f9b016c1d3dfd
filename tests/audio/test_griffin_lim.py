"""Griffin-Lim: its iterations are librosa's, what it inverts has the right length and mel, and a clip does not notice its batch."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from audiojax.audio import griffin_lim as module
from audiojax.audio.griffin_lim import griffin_lim, inverse_stft, linear_magnitude, mel_to_waveform, stft
from audiojax.audio.spectral import AUDIOLDM_16K, BEATS, PANNS_16K, SOUNDWORLD_16K, filter_bank, log_mel
from audiojax.data.soundworld.source import SceneSource

CONVENTIONS = {"audioldm": AUDIOLDM_16K, "panns": PANNS_16K, "soundworld": SOUNDWORLD_16K}
mel_of = jax.jit(log_mel, static_argnums=1)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def clips():
    """The middle second of three clips of SoundWorld [3, 16000]."""
    source = SceneSource("test")
    return np.stack([source[i]["audio"][20_000:36_000] for i in range(3)]).astype(np.float32) / 32768


class Phases(np.random.RandomState):
    """Gives librosa the phases that are ours."""

    def __init__(self, turns):
        super().__init__(0)
        self.turns = turns

    def random(self, size):
        return self.turns.reshape(size)


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_the_iterations_are_those_of_librosa(clips, momentum):
    config, clip = PANNS_16K, clips[0]
    settings = {"n_fft": 512, "hop_length": 160, "win_length": 512, "window": "hann", "center": True, "pad_mode": "reflect"}
    magnitude = np.abs(librosa.stft(clip, **settings))  # [bins, frames]
    turns = np.random.default_rng(0).uniform(size=magnitude.shape)
    theirs = librosa.griffinlim(magnitude, n_iter=5, momentum=momentum, random_state=Phases(turns), **settings)
    run = jax.jit(partial(griffin_lim, config=config, iterations=5, momentum=momentum))
    ours = np.asarray(run(magnitude.T[None], np.exp(2j * np.pi * turns).T[None].astype(np.complex64)))
    assert ours.shape == (1, len(theirs))
    assert np.linalg.norm(ours[0] - theirs) < 2e-3 * np.linalg.norm(theirs)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_spectrum_becomes_its_sound_again(clips, name):
    config = CONVENTIONS[name]
    back = np.asarray(jax.jit(lambda x: inverse_stft(stft(x, config), config))(clips))
    length = 16_000 if config.padding == "same" else 16_000 // config.hop * config.hop
    assert back.shape == (3, length)
    np.testing.assert_allclose(back, clips[:, :length], atol=2e-5)


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("frames", [8, 25])
def test_lengths(name, frames):
    config = CONVENTIONS[name]
    mel = jax.ShapeDtypeStruct((2, frames, config.n_mels), np.float32)
    out = jax.eval_shape(lambda mel: mel_to_waveform(mel, config, KEY, iterations=1), mel)
    samples = frames * config.hop if config.padding == "same" else (frames - 1) * config.hop
    assert out.shape == (2, samples)
    assert config.frame_count(samples) == frames


def test_the_magnitudes_have_the_bands_and_are_not_negative(clips):
    mel = mel_of(clips, AUDIOLDM_16K)
    found = np.asarray(jax.jit(linear_magnitude, static_argnums=1)(mel, AUDIOLDM_16K))
    assert (found >= 0).all()
    wanted = np.exp(np.asarray(mel))
    assert np.linalg.norm(found @ filter_bank(AUDIOLDM_16K) - wanted) < 0.03 * np.linalg.norm(wanted)
    assert (found[..., 0] == 0).all()  # the constant has no band


@pytest.mark.parametrize("name", ["audioldm", "soundworld"])
def test_the_sound_has_the_mel_that_it_was_made_from(clips, name):
    config = CONVENTIONS[name]
    mel = mel_of(clips, config)
    sound = mel_to_waveform(mel, config, KEY, iterations=30)
    again = np.asarray(mel_of(sound, config))
    nepers = np.log(10) / 10 / 2 if config.log == "db" else 1.0  # of magnitudes
    assert np.abs(sound).max() <= 1
    assert np.abs(again - mel).mean() * nepers < 0.2
    assert np.corrcoef(again.ravel(), np.ravel(mel))[0, 1] > 0.98


def test_a_clip_does_not_notice_its_batch(clips):
    mel = mel_of(clips, AUDIOLDM_16K)
    run = partial(mel_to_waveform, config=AUDIOLDM_16K, key=KEY, iterations=4)
    whole = np.asarray(run(mel))
    np.testing.assert_allclose(np.asarray(run(mel[::-1]))[::-1], whole, atol=1e-5)
    np.testing.assert_allclose(np.asarray(run(mel.at[0].set(0.0)))[1:], whole[1:], atol=1e-5)
    other = np.asarray(mel_to_waveform(mel, AUDIOLDM_16K, jax.random.key(1), iterations=4))
    assert np.abs(other - whole).max() > 1e-3


def test_silence_stays_silent_and_normalised_mels_are_undone():
    quiet = jnp.full((1, 20, 64), np.log(AUDIOLDM_16K.floor))
    assert np.abs(mel_to_waveform(quiet, AUDIOLDM_16K, KEY, iterations=2)).max() == 0
    normalised = dataclasses.replace(AUDIOLDM_16K, mean=-4.0, std=2.0)
    mel = jnp.asarray(np.random.default_rng(0).normal(-3, 1, (1, 20, 64)), jnp.float32)
    found = [linear_magnitude(one, config) for one, config in ((mel, AUDIOLDM_16K), ((mel + 4) / 2, normalised))]
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-6)


def test_conventions_without_an_inverse():
    with pytest.raises(ValueError, match="padding 'center' or 'same'"):
        module.mel_to_waveform(jnp.zeros((1, 8, 128)), BEATS, KEY)
