"""What CLAP hears of a clip of any length: the windows and crops of it that become log-mels. Host, NumPy.

A model takes clips of one length, 10 s as published. A shorter clip is repeated as often as it fits whole, then padded with zeros. A longer
one is cut into windows side by side, the last of which ends with the clip; or, for a fused model, it is seen as that was trained to see it:
the log-mel of the whole clip shrunk to the model's frames, and three crops of it, one from each third. ("LAION-AI/CLAP code";
transformers' ClapFeatureExtractor, which places its crops at random.)

Whatever the clip's length, only the frames that are looked at are computed, so that an hour costs no more memory than the clip itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from audiojax.audio.spectral import CLAP_48K, CLAP_48K_FUSED, MelConfig


@dataclass(frozen=True)
class ClapFrontEnd:
    """How waveforms become what a tower takes.

    Attributes:
      mel: convention of the log-mel; frames as long as the transform.
      samples: length of a clip, at `mel.sample_rate`.
      fusion: whether longer clips are shrunk and cropped for a fused tower, in place of windows.

    Raises:
      ValueError: no frame fits into a clip, or frames that are zero-padded.
    """

    mel: MelConfig
    samples: int
    fusion: bool = False

    def __post_init__(self):
        self.mel.frame_count(self.samples)
        if self.mel.win_length != self.mel.n_fft:
            raise ValueError(f"frames of {self.mel.win_length} samples in a transform of {self.mel.n_fft}")

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return self.mel.frame_count(self.samples)


PRESETS = {
    "rand_trunc": ClapFrontEnd(CLAP_48K, 480_000),
    "fusion": ClapFrontEnd(CLAP_48K_FUSED, 480_000, fusion=True),
    "tiny": ClapFrontEnd(MelConfig(16_000, n_fft=512, win_length=512, hop=240, n_mels=64, f_min=50, f_max=8_000, padding="same"), 61_440),
}


class LongClip(NamedTuple):
    """Frames of a long clip, for a fused tower.

    Attributes:
      frames: [5, frames, n_fft] samples, not yet windowed: for the shrunk view the neighbours before and after each of its frames, then the
        frames of the front, middle and back crops.
      fraction: [frames], where between its neighbours a frame of the shrunk view lies, 0 to 1.
      is_longer: whether the crops are looked at; False where the clip is longer by less than a frame.
    """

    frames: Float[np.ndarray, "views frames n"]
    fraction: Float[np.ndarray, " frames"]
    is_longer: bool


def repeat_pad(clip: Float[np.ndarray, " n"], samples: int) -> Float[np.ndarray, " samples"]:
    """A short clip repeated as often as it fits whole, then zeros."""
    times = samples // len(clip)
    return np.pad(np.tile(clip, times), (0, samples - times * len(clip)))


def windows(clip: Float[np.ndarray, " n"], samples: int) -> Iterator[Float[np.ndarray, " samples"]]:
    """Windows side by side that cover the clip; the last ends with it, and so may overlap the one before. A short clip is one, repeated."""
    if len(clip) < samples:
        yield repeat_pad(clip, samples)
        return
    for start in range(0, len(clip) - samples, samples):
        yield clip[start : start + samples]
    yield clip[len(clip) - samples :]


def random_window(clip: Float[np.ndarray, " n"], samples: int, random: np.random.Generator) -> Float[np.ndarray, " samples"]:
    """One window at a place drawn evenly. A short clip is repeated."""
    if len(clip) <= samples:
        return repeat_pad(clip, samples)
    start = random.integers(0, len(clip) - samples, endpoint=True)
    return clip[start : start + samples]


def long_clip(clip: Float[np.ndarray, " n"], front_end: ClapFrontEnd, random: np.random.Generator | None = None) -> LongClip:
    """The frames of a clip that is longer than `front_end.samples`; crops in the middle of each third, or drawn in it by `random`."""
    mel, count = front_end.mel, front_end.frames
    total = mel.frame_count(len(clip))
    before, fraction = shrink_taps(total, count)
    first = [before, np.minimum(before + 1, total - 1)]
    first += [start + np.arange(count) for start in crop_starts(total, count, random)]
    frames = np.stack([frames_at(clip, starts, mel) for starts in first])
    return LongClip(frames, fraction, total > count)


def crop_starts(total: int, count: int, random: np.random.Generator | None) -> list[int]:
    """First frames of crops of `count` frames, one from each third of the possible places; a third without a place takes the first."""
    thirds = [third if len(third) else np.zeros(1, int) for third in np.array_split(np.arange(total - count + 1), 3)]
    if random is None:
        return [int(third[(len(third) - 1) // 2]) for third in thirds]
    return [int(random.choice(third)) for third in thirds]


def shrink_taps(total: int, count: int) -> tuple[Int[np.ndarray, " count"], Float[np.ndarray, " count"]]:
    """(index, fraction): each of `count` frames is (1 - fraction) of frame `index` of `total` and fraction of the next one.

    Linear interpolation between pixel centres, (i + 0.5) total / count - 0.5 (torch's "bilinear" with align_corners=False), in float64.
    """
    position = np.maximum((np.arange(count) + 0.5) * (total / count) - 0.5, 0.0)
    index = np.minimum(position.astype(np.int64), total - 1)
    return index, (position - index).astype(np.float32)


def frames_at(clip: Float[np.ndarray, " n"], starts: Int[np.ndarray, " frames"], mel: MelConfig) -> Float[np.ndarray, "frames n_fft"]:
    """Frames by number, of the clip as its convention pads it: reflected at both ends."""
    index = starts[:, None] * mel.hop + np.arange(mel.n_fft)[None, :] - mel.pad_samples
    last = len(clip) - 1
    return clip[last - np.abs(last - np.abs(index))]
