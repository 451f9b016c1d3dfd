"""Waveforms as callers have them, checked and at the rate of a tower. Host, NumPy."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from audiojax.audio.io import resample
from audiojax.errors import UsageError
from audiojax.typing import Array

MOST_CHANNELS = 8  # of a sound; a clip of so few samples is none

Waveforms = Float[Array | np.ndarray, "*b n"] | Sequence[Float[Array | np.ndarray, " n"]]


def clips_at(waveforms: Waveforms, sample_rate: int, to_rate: int) -> Iterator[Float[np.ndarray, " n"]]:
    """Every clip as float32 at `to_rate`, resampled one at a time as they are asked for.

    Args:
      waveforms: one clip [n], a batch [b, n], or a list of clips of any lengths; mono, in [-1, 1].
      sample_rate: of all of them, Hz.

    Raises:
      UsageError: a clip that is empty, not mono, of whole numbers or not finite; one number, or what rather is one clip [n, channels]; or a
        rate that is no positive whole number.
    """
    if not isinstance(sample_rate, int | np.integer) or sample_rate < 1:
        raise UsageError(f"sample rate {sample_rate!r}: a positive whole number of Hz is needed")
    listed = isinstance(waveforms, list | tuple) and any(np.ndim(clip) for clip in waveforms)
    clips = waveforms if listed else np.asarray(waveforms)
    if not listed and clips.ndim == 0:
        raise UsageError("a waveform is needed, [n] or [b, n], not one number")
    if not listed and clips.ndim == 2 and 0 < clips.shape[1] <= MOST_CHANNELS and clips.shape[1] < clips.shape[0]:
        raise UsageError(f"waveforms of the shape {list(clips.shape)} look like one clip [n, channels]: mix to mono, or transpose")
    if not listed and clips.ndim == 1 and clips.size:
        clips = clips[None]
    for i, clip in enumerate(clips):
        clip = np.asarray(clip)
        where = f"waveform {i} of {len(clips)}"
        if clip.ndim != 1 or not clip.size:
            raise UsageError(f"{where} has the shape {list(clip.shape)}: one axis of samples is needed, mono and not empty")
        if not np.issubdtype(clip.dtype, np.floating):
            raise UsageError(f"{where} holds {clip.dtype}: floating-point samples in [-1, 1] are needed")
        if not np.isfinite(clip).all():
            raise UsageError(f"{where} holds samples that are not finite")
        yield resample(clip, int(sample_rate), to_rate)


def batch_at(waveforms: Waveforms, sample_rate: int | None, to_rate: int, least: int = 1) -> Float[np.ndarray, "b n"]:
    """Clips of one length as a batch at `to_rate`, which is also what no `sample_rate` stands for.

    Args:
      least: samples that a clip must have at `to_rate`.

    Raises:
      UsageError: as `clips_at`; clips of several lengths, or too short.
    """
    clips = list(clips_at(waveforms, to_rate if sample_rate is None else sample_rate, to_rate))
    lengths = {len(clip) for clip in clips}
    if len(lengths) != 1:
        raise UsageError(f"{len(clips)} clips of {len(lengths)} lengths: clips of one length are needed")
    if min(lengths) < least:
        raise UsageError(f"clips of {min(lengths)} samples are too short: pad them to {least} (at {to_rate} Hz)")
    return np.stack(clips)
