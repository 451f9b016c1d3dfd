"""Towers that take a waveform at 16 kHz: AudioMAE and BEATs, front end and encoder in one compiled program."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from audiojax.audio.io import resample
from audiojax.audio.spectral import MelConfig, log_mel
from audiojax.encoders.audiomae import AudioMaeOutput, pool_patches
from audiojax.encoders.beats import BeatsOutput, shorten_mask
from audiojax.errors import UsageError
from audiojax.towers.base import Tower
from audiojax.typing import Array


@dataclass(frozen=True, eq=False)
class AudioMaeTower(Tower):
    """AudioMAE with its weights. Clips have one length, that of the position table: 10.24 s in the published tower."""

    def __call__(self, waveform: Float[np.ndarray | Array, "b n"], sample_rate: int | None = None) -> AudioMaeOutput:
        """Encodes mono clips in [-1, 1]. Shorter ones are padded with frames of zeros, and of longer ones only the beginning is heard.

        Args:
          waveform: clips of one length, at least one frame of 25 ms.
          sample_rate: Hz, of the clips; they are resampled. None = 16 kHz.

        Raises:
          UsageError: the clips are no [b, n], or too short.
        """
        front_end = self.config.front_end
        return _encode(self.module, front_end, self.params, clips_for(front_end, waveform, sample_rate), None)

    def condition(
        self, waveform: Float[np.ndarray | Array, "b n"], sample_rate: int | None = None, *, size: tuple[int, int] = (4, 4)
    ) -> Float[Array, "b m d"]:
        """What the AudioLDM family is conditioned on: the features of the last blocks, pooled over windows of `size` patches.

        Args:
          waveform: as in a call.
          sample_rate: as in a call.
          size: of a window in time and frequency; (8, 8) in AudioLDM 2, which leaves 8 vectors of a clip.
        """
        return pool_patches(self(waveform, sample_rate).features, self.config.grid, size)


@dataclass(frozen=True, eq=False)
class BeatsTower(Tower):
    """BEATs with its weights. Clips may have any length from one patch (0.175 s) on."""

    def __call__(
        self,
        waveform: Float[np.ndarray | Array, "b n"],
        sample_rate: int | None = None,
        *,
        mask: Bool[np.ndarray | Array, "b n"] | None = None,
    ) -> BeatsOutput:
        """Encodes mono clips in [-1, 1].

        Args:
          waveform: clips of one length, shorter ones padded at their end.
          sample_rate: Hz, of the clips; they are resampled. None = 16 kHz.
          mask: True = sample of the clip, False = padding; of the clips as they are given. All True by default.

        Raises:
          UsageError: the clips are no [b, n], or too short, or the mask has another shape.
        """
        front_end = self.config.front_end
        if mask is not None and np.shape(mask) != np.shape(waveform):
            raise UsageError(f"a mask {np.shape(mask)} for clips {np.shape(waveform)}: give one value for every sample")
        clips = clips_for(front_end, waveform, sample_rate, frames=self.config.patch)
        frames = None if mask is None else shorten_mask(jnp.asarray(mask), front_end.frame_count(clips.shape[1]))
        return _encode(self.module, front_end, self.params, clips, frames)


def clips_for(
    front_end: MelConfig, waveform: Float[np.ndarray | Array, "b n"], sample_rate: int | None, frames: int = 1
) -> Float[np.ndarray | Array, "b m"]:
    """The clips at the front end's rate.

    Raises:
      UsageError: they are no [b, n], or too short for `frames` frames.
    """
    if np.ndim(waveform) != 2:
        raise UsageError(f"clips of shape {np.shape(waveform)}: give [clips, samples], one mono clip as [1, samples]")
    if sample_rate not in (None, front_end.sample_rate):
        waveform = np.stack([resample(clip, sample_rate, front_end.sample_rate) for clip in np.asarray(waveform)])
    least = front_end.win_length + (frames - 1) * front_end.hop
    if waveform.shape[1] < least:
        raise UsageError(f"clips of {waveform.shape[1]} samples are too short: pad them to {least} (at {front_end.sample_rate} Hz)")
    return waveform


@partial(jax.jit, static_argnames=("module", "front_end"))
def _encode(module, front_end, params, waveform, mask):
    inputs = (log_mel(waveform, front_end),) if mask is None else (log_mel(waveform, front_end), mask)
    return module.apply(params, *inputs, train=False)
