"""Griffin-Lim: sound from a log-mel spectrogram without a trained vocoder, on the device.

A spectrogram that a sound may have had is found first (`linear_magnitude`), then phases that go with it (`griffin_lim`, momentum as in
"A fast Griffin-Lim algorithm", Perraudin et al. 2013). Everything is a pure function, and a clip comes out the same in any batch.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Complex, Float

from audiojax.audio.spectral import EXACT, MelConfig, analysis_window, filter_bank, overlapping_frames
from audiojax.typing import Array, Key

ITERATIONS = 60
MOMENTUM = 0.99
UPDATES = 30  # of the non-negative spectrum; its bands are then nearer than what phases can reach
TINY = 1e-16


@functools.partial(jax.jit, static_argnames=("config", "iterations", "momentum"))
def mel_to_waveform(
    log_mel: Float[Array, "b frames mels"], config: MelConfig, key: Key, *, iterations: int = ITERATIONS, momentum: float = MOMENTUM
) -> Float[Array, "b n"]:
    """Waveforms whose log-mel under `config` is near the given one, within [-1, 1].

    n is frames * hop where the convention pads "same", and (frames - 1) * hop where it pads "center".

    Args:
      log_mel: as `spectral.log_mel` gives it.
      config: the convention; static under jit.
      key: of the first phases, which all clips share.
      iterations: between spectrogram and sound.
      momentum: 0 for the algorithm of Griffin and Lim (1984), below 1.

    Raises:
      ValueError: a convention that cannot be inverted: snipped edges, pre-emphasis.
    """
    magnitude = linear_magnitude(log_mel, config)
    angle = jax.random.uniform(key, magnitude.shape[1:], maxval=2 * np.pi)
    first = jnp.broadcast_to(jnp.exp(1j * angle)[None], magnitude.shape)
    return jnp.clip(griffin_lim(magnitude, first, config, iterations=iterations, momentum=momentum), -1.0, 1.0)


def linear_magnitude(log_mel: Float[Array, "b frames mels"], config: MelConfig) -> Float[Array, "b frames bins"]:
    """The magnitudes >= 0 whose mel bands are nearest to the given ones, in least squares.

    Multiplicative updates (Lee and Seung 2000) of s >= 0 with s @ bank ~ mel, from the pseudo-inverse on. Bins without a band are 0.
    """
    bank = filter_bank(config)  # [bins, mels]
    mel = log_mel * config.std + config.mean
    mel = jnp.exp(mel * (np.log(10) / 10 if config.log == "db" else 1.0))
    mel = jnp.where(mel > config.floor * 1.001, mel, 0.0)  # silence, and not its floor
    target = jnp.dot(mel, bank.T, precision=EXACT)  # [b, frames, bins]
    first = jnp.dot(mel, np.linalg.pinv(bank.astype(np.float64)).astype(np.float32), precision=EXACT)
    first = jnp.where(target > 0, jnp.maximum(first, 1e-3 * target), 0.0)

    def update(spectrum, _):
        bands = jnp.dot(spectrum, bank, precision=EXACT)
        return spectrum * target / (jnp.dot(bands, bank.T, precision=EXACT) + TINY), None

    spectrum, _ = lax.scan(update, first, None, length=UPDATES)
    return (jnp.sqrt(spectrum) if config.power == 2 else spectrum) / config.scale


def griffin_lim(
    magnitude: Float[Array, "b frames bins"],
    first: Complex[Array, "b frames bins"],
    config: MelConfig,
    *,
    iterations: int = ITERATIONS,
    momentum: float = MOMENTUM,
) -> Float[Array, "b n"]:
    """Waveforms whose magnitudes are near the given ones.

    Args:
      first: phases to begin with, of length 1.
      config, iterations, momentum: as in `mel_to_waveform`.

    Raises:
      ValueError: as `mel_to_waveform`.
    """
    if config.padding == "snip" or config.pre_emphasis:
        raise ValueError("Griffin-Lim inverts spectrograms with padding 'center' or 'same' and without pre-emphasis")

    def iterate(state, _):
        spectrum, before = state
        rebuilt = stft(inverse_stft(spectrum, config), config)
        moved = rebuilt - momentum / (1 + momentum) * before
        return (magnitude * moved / (jnp.abs(moved) + TINY), rebuilt), None

    spectrum = magnitude * first
    (spectrum, _), _ = lax.scan(iterate, (spectrum, jnp.zeros_like(spectrum)), None, length=iterations)
    return inverse_stft(spectrum, config)


def stft(waveform: Float[Array, "b n"], config: MelConfig) -> Complex[Array, "b frames bins"]:
    """The spectrum of each frame, as the log-mel of `config` looks at it."""
    frames = jax.vmap(functools.partial(overlapping_frames, config=config))(waveform)
    return jnp.fft.rfft(frames * analysis_window(config)[None, None, :], axis=2)


def inverse_stft(spectrum: Complex[Array, "b frames bins"], config: MelConfig) -> Float[Array, "b n"]:
    """The waveforms whose spectra are nearest to the given ones, in least squares, without what the convention pads."""
    window = analysis_window(config)
    frames = jnp.fft.irfft(spectrum, n=config.n_fft, axis=2) * window[None, None, :]
    count, pad = spectrum.shape[1], config.pad_samples
    weight = _overlap_add(np.broadcast_to(np.square(window), (1, count, config.n_fft)), config.hop)
    waveform = _overlap_add(frames, config.hop) / jnp.maximum(weight, np.finfo(np.float32).tiny)
    return waveform[:, pad : (count - 1) * config.hop + config.n_fft - pad]


def _overlap_add(frames: Float[Array, "b frames width"], hop: int) -> Float[Array, "b n"]:
    """Frames at their places, summed: pieces of one hop, each moved by its number, so that nothing is scattered."""
    b, count, width = frames.shape
    pieces = -(-width // hop)
    cut = jnp.pad(frames, ((0, 0), (0, 0), (0, pieces * hop - width))).reshape(b, count, pieces, hop)
    moved = [jnp.pad(cut[:, :, i], ((0, 0), (i, pieces - 1 - i), (0, 0))) for i in range(pieces)]
    return functools.reduce(jnp.add, moved).reshape(b, -1)[:, : (count - 1) * hop + width]
