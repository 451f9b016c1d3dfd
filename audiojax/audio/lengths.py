"""Making clips one length: crop, repeat, zero-pad, or slide windows over sounds of any length. Pure NumPy functions on mono clips.

The last axis of an array is time everywhere here.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float

At = Literal["start", "center", "random"]
Short = Literal["repeat", "repeat_cut", "zero"]


def crop(
    clip: Float[np.ndarray, " n"], samples: int, *, at: At = "start", rng: np.random.Generator | None = None
) -> Float[np.ndarray, " m"]:
    """The first, middle or a random stretch of `samples`; a shorter clip comes back as it is.

    Raises:
      ValueError: at="random" without a generator.
    """
    spare = len(clip) - samples
    if spare <= 0:
        return clip
    if at == "random":
        if rng is None:
            raise ValueError("a random crop needs the generator to draw from: pass rng")
        start = int(rng.integers(0, spare + 1))
    else:
        start = 0 if at == "start" else spare // 2
    return clip[start : start + samples]


def zero_pad(clip: Float[np.ndarray, " n"], samples: int) -> Float[np.ndarray, " m"]:
    """The clip with zeros after it up to `samples`; a longer clip comes back as it is."""
    return np.pad(clip, (0, max(0, samples - len(clip))))


def repeat_pad(clip: Float[np.ndarray, " n"], samples: int, *, whole: bool = True) -> Float[np.ndarray, " m"]:
    """The clip repeated up to `samples`; a longer clip comes back as it is.

    Args:
      clip: at least one sample.
      samples: the length to reach.
      whole: repeat whole times and fill the rest with zeros (CLAP's "repeatpad"); otherwise the last repetition is cut.

    Raises:
      ValueError: the clip is empty.
    """
    if len(clip) == 0:
        raise ValueError("an empty clip cannot be repeated")
    if len(clip) >= samples:
        return clip
    if whole:
        return zero_pad(np.tile(clip, samples // len(clip)), samples)
    return np.resize(clip, samples)


def fit(
    clip: Float[np.ndarray, " n"], samples: int, *, short: Short = "repeat", at: At = "start", rng: np.random.Generator | None = None
) -> Float[np.ndarray, " samples"]:
    """The clip at exactly `samples`: cropped by `at` when longer, padded by `short` when shorter.

    Args:
      clip: at least one sample.
      samples: the length to give it.
      short: "repeat" (whole times, then zeros), "repeat_cut" (the last repetition is cut) or "zero".
      at: where a longer clip is cropped.
      rng: draws the place of a random crop.

    Raises:
      ValueError: the clip is empty and should be repeated, or a random crop has no generator.
    """
    if len(clip) > samples:
        return crop(clip, samples, at=at, rng=rng)
    if short == "zero":
        return zero_pad(clip, samples)
    return repeat_pad(clip, samples, whole=short == "repeat")


def window_starts(length: int, samples: int, hop: int) -> list[int]:
    """First samples of the windows that cover a clip of `length`: every `hop`, and a last one that ends with the clip.

    A clip not longer than a window has one window, at 0. There are 1 + ceil((length - samples) / hop) of them otherwise.
    """
    last = max(0, length - samples)
    return [*range(0, last, hop), last]


def slide(
    blocks: Iterable[Float[np.ndarray, " n"]], samples: int, hop: int, *, short: Short = "repeat"
) -> Iterator[tuple[int, Float[np.ndarray, " samples"]]]:
    """Windows of a sound that arrives in blocks, as (first sample, window), at the places of `window_starts`.

    Holds one window and one block at a time, so the sound may be hours long.

    Args:
      blocks: consecutive pieces of one clip, of any lengths.
      samples: window length.
      hop: samples between window starts, 1 .. samples.
      short: how a sound shorter than one window is padded, as in `fit`. A sound without samples has no window.

    Raises:
      ValueError: hop is not in 1 .. samples.
    """
    if not 1 <= hop <= samples:
        raise ValueError(f"the hop must lie in 1 .. {samples} (the window), got {hop}")
    before, held, first = None, np.zeros(0, np.float32), 0  # `before`: the last hop of samples in front of `held`
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > samples:  # more than a window: this start is not the last one
            yield first, held[:samples].copy()
            before, held, first = held[:hop], held[hop:], first + hop
    if before is not None:
        missing = samples - len(held)  # below the hop
        yield first - missing, np.concatenate([before[hop - missing :], held])
    elif len(held):
        yield 0, fit(held, samples, short=short)
