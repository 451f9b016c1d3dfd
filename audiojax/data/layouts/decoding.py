"""Clips decoded wherever their sounds lie, for the child processes of `audiojax.audio.pool`. No jax."""

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from audiojax.audio import io
from audiojax.audio.reasons import AudioFileError
from audiojax.data.layouts.clips import Clip, Sound
from audiojax.data.layouts.sounds import SoundReader, name_of


def decode_clip(clip: Clip, sample_rate: int | None = None, max_seconds: float | None = None) -> io.Clip:
    """The clip's stretch of its sound, at most `max_seconds` of it, at `sample_rate` in Hz (None = the file's).

    Raises:
      AudioFileError: as `audiojax.audio.io.decode` and `SoundReader.read` do, with the place of the sound.
    """
    seconds = min((s for s in (clip.seconds, max_seconds) if s is not None), default=None)
    with on_disk(clip.sound) as path:
        return io.decode(path, io.DecodeOptions(sample_rate=sample_rate, start=clip.start, seconds=seconds))


@contextmanager
def on_disk(sound: Sound) -> Iterator[Path]:
    """A file that holds the sound and nothing else: its own, or a temporary one for a part of an archive or a table.

    Raises:
      AudioFileError: as `SoundReader.read` does; one raised inside the block then names the sound, not the temporary file.
    """
    if not sound.member:
        yield sound.path
        return
    with tempfile.NamedTemporaryFile(suffix=PurePath(sound.member).suffix) as file:
        file.write(_reader().read(sound))
        file.flush()
        try:
            yield Path(file.name)
        except AudioFileError as error:
            raise AudioFileError(name_of(sound), error.bad.reason, error.bad.detail) from None


@functools.cache
def _reader() -> SoundReader:
    """The reader of this process: it keeps the rows of a table that surround the last sound."""
    return SoundReader()
