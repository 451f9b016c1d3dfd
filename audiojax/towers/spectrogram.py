"""Towers that take a waveform at 16 kHz: AudioMAE and BEATs, front end and encoder in one compiled program."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from audiojax.audio.spectral import log_mel
from audiojax.encoders.audiomae import AudioMaeOutput, pool_patches
from audiojax.encoders.beats import BeatsOutput, shorten_mask
from audiojax.errors import UsageError
from audiojax.towers.base import Tower
from audiojax.towers.waveforms import Waveforms, batch_at
from audiojax.typing import Array


@dataclass(frozen=True, eq=False)
class AudioMaeTower(Tower):
    """AudioMAE with its weights. Clips have one length, that of the position table: 10.24 s in the published tower."""

    def __call__(self, waveform: Waveforms, sample_rate: int | None = None) -> AudioMaeOutput:
        """Encodes mono clips in [-1, 1]. Shorter ones are padded with frames of zeros, and of longer ones only the beginning is heard.

        Args:
          waveform: clips [n] or [b, n] of one length, at least one frame of 25 ms.
          sample_rate: Hz, of the clips; they are resampled. None = 16 kHz.

        Raises:
          UsageError: clips that cannot be used (see `batch_at`), or too short.
        """
        front_end = self.config.front_end
        clips = batch_at(waveform, sample_rate, front_end.sample_rate, front_end.win_length)
        return _encode(self.module, front_end, self.params, clips, None)

    def condition(self, waveform: Waveforms, sample_rate: int | None = None, *, size: tuple[int, int] = (4, 4)) -> Float[Array, "b m d"]:
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
        waveform: Waveforms,
        sample_rate: int | None = None,
        *,
        mask: Bool[np.ndarray | Array, "b n"] | None = None,
    ) -> BeatsOutput:
        """Encodes mono clips in [-1, 1].

        Args:
          waveform: clips [n] or [b, n] of one length, shorter ones padded at their end.
          sample_rate: Hz, of the clips; they are resampled. None = 16 kHz.
          mask: True = sample of the clip, False = padding; of the clips as they are given. All True by default.

        Raises:
          UsageError: clips that cannot be used (see `batch_at`) or too short, or a mask of another shape.
        """
        front_end = self.config.front_end
        given = batch_at(waveform, None, front_end.sample_rate)  # as they are, which the mask is for
        rows = None if mask is None else np.atleast_2d(mask)
        if rows is not None and rows.shape != given.shape:
            raise UsageError(f"a mask {np.shape(mask)} for clips {given.shape}: give one value for every sample")
        least = front_end.win_length + (self.config.patch - 1) * front_end.hop
        clips = batch_at(given, sample_rate, front_end.sample_rate, least)
        frames = None if rows is None else shorten_mask(jnp.asarray(rows), front_end.frame_count(clips.shape[1]))
        return _encode(self.module, front_end, self.params, clips, frames)


@partial(jax.jit, static_argnames=("module", "front_end"))
def _encode(module, front_end, params, waveform, mask):
    inputs = (log_mel(waveform, front_end),) if mask is None else (log_mel(waveform, front_end), mask)
    return module.apply(params, *inputs, train=False)
