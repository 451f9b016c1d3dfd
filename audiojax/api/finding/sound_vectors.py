"""Sounds of any length and rate as one unit vector each, by a model that hears windows."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float

from audiojax.api.finding.search import EMBED_BATCH, Searcher
from audiojax.audio.lengths import slide
from audiojax.towers.waveforms import clips_at


def sound_vectors(finder: Searcher, sounds: Iterable[tuple[Float[np.ndarray, " n"], int]]) -> Iterator[Float[np.ndarray, " d"]]:
    """The unit vector of each sound, in order; a long one is the mean of its windows, side by side.

    Windows go through one program of one batch size over all devices, whatever sound they are of.

    Args:
      sounds: (mono samples in [-1, 1], Hz), read as they are needed.

    Raises:
      UsageError: a sound that cannot be used, see `clips_at`.
    """
    size = -(-EMBED_BATCH // finder.devices) * finder.devices
    windows: list[np.ndarray] = []
    owners: list[int] = []
    sums: dict[int, np.ndarray] = {}
    given = count = 0

    def embed() -> None:
        rows = np.zeros((size, finder.samples), np.float32)
        rows[: len(windows)] = windows
        for owner, vector in zip(owners, unit(finder.embed_audio(rows)[: len(windows)]), strict=True):
            sums[owner] = sums.get(owner, 0) + vector
        windows.clear()
        owners.clear()

    for samples, rate in sounds:
        clip = next(clips_at([np.asarray(samples, np.float32)], int(rate), finder.sample_rate))
        for _, window in slide([clip], finder.samples, finder.samples, short=finder.padding):
            windows.append(window)
            owners.append(count)
            if len(windows) == size:
                embed()
        count += 1
        while given < count and given not in owners:
            yield unit(sums.pop(given))
            given += 1
    if windows:
        embed()
    for number in range(given, count):
        yield unit(sums.pop(number))


def unit(rows: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
    """The rows at length 1; zeros stay zeros."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
