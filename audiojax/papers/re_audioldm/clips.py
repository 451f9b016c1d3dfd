"""Lengths of sounds and of their latents; sounds that are started from, filled or gone on with. Host, NumPy.

The U-Net halves the latents several times, so that their frames come in whole units: 8 for AudioLDM, which are 0.32 s. A sound of any other
length is made a little too long and cut.
"""

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from audiojax.audio.spectral import MelConfig
from audiojax.errors import UsageError
from audiojax.models.hifigan import HifiGanConfig
from audiojax.models.unet import UNetConfig
from audiojax.models.vae import VaeConfig
from audiojax.papers.re_audioldm.networks import mel_for

PEAK = 0.5  # of sounds that the autoencoder hears, as in its training
SEAM_SECONDS = 0.04  # over which what is made takes turns with what is kept
MOST_SECONDS = 60.0  # the autoencoder attends from every latent pixel to every other


@dataclass(frozen=True)
class Geometry:
    """How samples, frames and latents of a generator go together.

    Attributes:
      mel: log-mel convention of autoencoder and vocoder.
      latent: samples of a latent frame.
      unit: latent frames come in multiples of it.
      bins: of a latent frame.
      channels: of a latent pixel.
    """

    mel: MelConfig
    latent: int
    unit: int
    bins: int
    channels: int

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.mel.sample_rate

    def frames(self, samples: int) -> int:
        """The fewest latent frames that hold so many samples."""
        return ceil(samples / (self.latent * self.unit)) * self.unit


def geometry_of(unet: UNetConfig, vae: VaeConfig, vocoder: HifiGanConfig) -> Geometry:
    """The geometry of networks that go together; log-mels are AudioLDM's, with the bins and the hop of the vocoder.

    Raises:
      UsageError: they do not go together.
    """
    if unet.latent_channels != vae.latent_channels:
        raise UsageError(f"a U-Net for latents of {unet.latent_channels} channels beside an autoencoder of {vae.latent_channels}")
    if vocoder.mels % (vae.stride * unet.stride):
        raise UsageError(f"a vocoder of {vocoder.mels} mel bins, which {vae.stride} x {unet.stride} of autoencoder and U-Net do not divide")
    mel = mel_for(vocoder)
    return Geometry(mel, mel.hop * vae.stride, unet.stride, mel.n_mels // vae.stride, vae.latent_channels)


class Reference(NamedTuple):
    """A sound that another is made from.

    Attributes:
      sound: [n] as the networks hear it, as long as whole units: without its mean, at a peak of 0.5, mirrored beyond its end.
      mean, gain: sound = (samples - mean) * gain.
      length: samples of the result.
      hole: first sample that is made anew and the one after the last; None = all of it is.
    """

    sound: Float[np.ndarray, " n"]
    mean: float
    gain: float
    length: int
    hole: tuple[int, int] | None

    def kept(self, geometry: Geometry) -> Bool[np.ndarray, " t"] | None:
        """Latent frames of the result that lie wholly outside of the hole; None where there is no hole."""
        if self.hole is None:
            return None
        first = np.arange(len(self.sound) // geometry.latent) * geometry.latent
        end = first + geometry.latent
        return (end <= self.hole[0]) | ((first >= self.hole[1]) & (end <= self.length))


def reference_of(
    samples: Float[np.ndarray, " n"],
    geometry: Geometry,
    *,
    seconds: float | None = None,
    inpaint: tuple[float, float] | None = None,
    extend: float | None = None,
) -> Reference:
    """A reference from samples at the rate of the geometry.

    Args:
      seconds: cut the sound after so many; None = as long as it is.
      inpaint: (start, end) of what is made anew, in seconds; the rest stays.
      extend: seconds that are made after its end; all of it stays.

    Raises:
      UsageError: a length or a place that does not fit the sound, or nothing in it to hear.
    """
    rate, given = geometry.sample_rate, len(samples) / geometry.sample_rate
    if seconds is not None:
        samples = samples[: samples_of(seconds, rate)]
        if seconds > given + 1 / rate:
            raise UsageError(f"seconds is {seconds:g}, and the reference lasts {given:.2f} s; make it longer with extend")
    if inpaint is not None and extend is not None:
        raise UsageError("inpaint and extend: one at a time; extend first, then inpaint the result")
    kept = len(samples)
    length = kept if extend is None else kept + samples_of(extend, rate, "extend")
    samples_of(length / rate, rate, "the length of the result")
    hole = None if extend is None else (kept, length)
    if inpaint is not None:
        start, end = inpaint
        if not 0 <= start < end <= kept / rate + 0.005:  # people read lengths off to the hundredth
            raise UsageError(f"inpaint is {start:g} to {end:g} s; a stretch of the reference is needed, which lasts {kept / rate:.2f} s")
        hole = (round(start * rate), min(round(end * rate), kept))
    mean = float(np.mean(samples))
    peak = float(np.max(np.abs(samples - mean)))
    if peak < 1e-5:
        raise UsageError("the reference is silent: nothing can be started from it")
    gain = PEAK / (peak + 1e-8)
    sound = np.pad((samples - mean) * gain, (0, geometry.frames(length) * geometry.latent - kept), mode="symmetric")
    return Reference(sound.astype(np.float32), mean, gain, length, hole)


def samples_of(seconds: float, rate: int, name: str = "seconds") -> int:
    """Samples of so many seconds. UsageError where that is no length: it has to be above 0, and at most a minute."""
    if not isinstance(seconds, int | float) or not 1 / rate <= seconds <= MOST_SECONDS:
        raise UsageError(f"{name} is {seconds!a:.80}; a number above 0 and up to {MOST_SECONDS:g} is needed")
    return round(seconds * rate)


def with_kept(made: Float[np.ndarray, " n"], reference: Reference, rate: int) -> Float[np.ndarray, " n"]:
    """What was made; where the reference has a hole, only there, at the level of its own samples around it and with soft seams."""
    if reference.hole is None:
        return made
    original = reference.sound[: len(made)]
    inside = np.zeros(len(made))
    inside[slice(*reference.hole)] = 1.0
    width = round(SEAM_SECONDS * rate) | 1
    window = np.hanning(width + 2)[1:-1]
    edges = np.pad(inside, width // 2, mode="edge")
    share = np.maximum(np.convolve(edges, window / window.sum(), "valid"), 0.0)  # of what was made
    mixed = share * made + (1.0 - share) * original
    return (mixed / reference.gain + reference.mean).astype(np.float32)
