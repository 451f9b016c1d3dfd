"""What every sound of a data set is like, found out in child processes: its length, its rate, whether anything is heard, its content.

Host only, no jax.
"""

import collections
import contextlib
import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audiojax.audio import io, worker
from audiojax.audio.pool import run_isolated
from audiojax.audio.reasons import AudioFileError, BadAudio
from audiojax.data.layouts.clips import Sound
from audiojax.data.layouts.sounds import SoundReader, name_of

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
    for sound, kind, value in run_on_sounds(hear, sounds, workers=workers, timeout=timeout):
        if kind == worker.PAYLOAD:
            heard = value
        else:
            yield sound, value if kind == worker.BAD else heard


def hear(path: str) -> Iterator[Heard]:
    """What the sound is like so far, every few minutes of it and at its end; AudioFileError as `audiojax.audio.io.stream` does."""
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


def run_on_sounds(
    function: Callable[[str], Iterable[Any]], sounds: Iterable[Sound], *, workers: int | None = None, timeout: float = 5.0
) -> Iterator[tuple[Sound, str, Any]]:
    """(sound, kind, value), as `audiojax.audio.pool.run_isolated`, for sounds that may lie in archives.

    A member's bytes lie in a temporary file while its child reads them; there are about as many as children. Reasons name the member.
    """
    waiting: collections.deque[tuple[Sound, BadAudio | None]] = collections.deque()
    with SoundReader() as reader, tempfile.TemporaryDirectory(prefix="audiojax-") as scratch:

        def paths() -> Iterator[str]:
            for number, sound in enumerate(sounds):
                bad, path = None, sound.path
                if sound.member:
                    path = Path(scratch, f"{number}{os.path.splitext(sound.member)[1][:16]}")
                    try:
                        path.write_bytes(reader.read(sound))
                    except AudioFileError as error:
                        bad = error.bad
                waiting.append((sound, bad))
                yield str(path)

        with contextlib.closing(run_isolated(function, paths(), workers=workers, timeout=timeout)) as events:
            for path, kind, value in events:
                sound, bad = waiting[0]
                if kind == worker.BAD:
                    value = bad or dataclasses.replace(value, path=name_of(sound))
                yield sound, kind, value
                if kind != worker.PAYLOAD:
                    waiting.popleft()
                    if sound.member:
                        Path(path).unlink(missing_ok=True)
