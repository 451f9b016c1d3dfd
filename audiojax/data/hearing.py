"""What every sound of a data set is like, found out in child processes: its length, its rate, whether anything is heard, its content.

Host only, no jax.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from audiojax.audio import io, worker
from audiojax.audio.pool import run_isolated
from audiojax.audio.reasons import AudioFileError, BadAudio
from audiojax.data.layouts.clips import Sound
from audiojax.data.layouts.decoding import on_disk

BLOCKS_PER_SIGN = 64  # a long sound says that it is still being read


@dataclasses.dataclass(frozen=True)
class Heard:
    """A sound in short.

    Attributes:
      seconds: its length.
      sample_rate: Hz of the file.
      channels: of the file.
      silent: no sample reaches -100 dBFS.
      digest: of its samples as mono float32 and its rate: the same for a WAV and a FLAC of one recording.
    """

    seconds: float
    sample_rate: int
    channels: int
    silent: bool
    digest: str


def hear_all(sounds: Iterable[Sound], *, workers: int | None = None, timeout: float = 20.0) -> Iterator[tuple[Sound, Heard | BadAudio]]:
    """(sound, what it is like or why it cannot be read) for every sound, in order.

    Args:
      sounds: files or members of archives; read lazily.
      workers: child processes; None for one per core, at most 4.
      timeout: seconds that some minutes of one sound may take to decode.
    """
    heard: Heard | None = None
    for sound, kind, value in run_isolated(hear, sounds, workers=workers, timeout=timeout):
        if kind == worker.PAYLOAD:
            heard = value
        else:
            yield sound, value if kind == worker.BAD else heard


def hear(sound: Sound) -> Iterator[Heard]:
    """What the sound is like so far, every few minutes of it and at its end; AudioFileError as `audiojax.audio.io.stream` does."""
    with on_disk(sound) as path:
        format_, blocks = io.open_blocks(path, io.AS_IT_IS)
        digest = hashlib.blake2b(str(format_.rate).encode(), digest_size=16)
        samples, silent = 0, True
        for number, block in enumerate(blocks, 1):
            digest.update(np.ascontiguousarray(block, "<f4"))
            samples += len(block)
            silent = silent and bool(np.max(np.abs(block), initial=0.0) < io.SILENCE)
            if number % BLOCKS_PER_SIGN == 0:
                yield Heard(samples / format_.rate, format_.rate, format_.channels, silent, "")
        if not samples:
            raise AudioFileError(path, io.Reason.EMPTY, "no samples")
        yield Heard(samples / format_.rate, format_.rate, format_.channels, silent, digest.hexdigest())
