"""Sounds decoded wherever they lie; what the child processes of `audiojax.audio.pool` run. No jax."""

import functools
import tempfile
from pathlib import PurePath

from audiojax.audio import io
from audiojax.audio.reasons import AudioFileError
from audiojax.data.layouts.clips import Clip, Sound
from audiojax.data.layouts.sounds import SoundReader, name_of


def decode_clip(clip: Clip, sample_rate: int | None = None, max_seconds: float | None = None) -> io.Clip:
    """The clip's stretch of its sound, at most `max_seconds` of it, at `sample_rate` in Hz (None = the file's).

    Raises:
      AudioFileError: as `decode_sound` does.
    """
    seconds = min((s for s in (clip.seconds, max_seconds) if s is not None), default=None)
    return decode_sound(clip.sound, io.DecodeOptions(sample_rate=sample_rate, start=clip.start, seconds=seconds))


def decode_sound(sound: Sound, options: io.DecodeOptions = io.AS_IT_IS) -> io.Clip:
    """The sound under `options`; members of archives and cells of tables go through a temporary file.

    Raises:
      AudioFileError: as `audiojax.audio.io.decode` and `SoundReader.read` do, with the place of the sound.
    """
    if not sound.member:
        return io.decode(sound.path, options)
    with tempfile.NamedTemporaryFile(suffix=PurePath(sound.member).suffix) as file:
        file.write(_reader().read(sound))
        file.flush()
        try:
            return io.decode(file.name, options)
        except AudioFileError as error:
            raise AudioFileError(name_of(sound), error.bad.reason, error.bad.detail) from None


@functools.cache
def _reader() -> SoundReader:
    """The reader of this process: it keeps the rows of a table that surround the last sound."""
    return SoundReader()
