"""Waveforms into sound files that appear whole or not at all. Host only."""

import io
import os
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float

from audiojax.errors import UsageError
from audiojax.files import shown, write_whole

FORMATS = {".wav": "WAV", ".flac": "FLAC"}


def check_place(path: str | os.PathLike) -> None:
    """Raises UsageError, before the work, for a sound file that cannot be written: another ending, a folder, a closed place."""
    path = Path(path).expanduser()
    if path.suffix not in FORMATS:
        raise UsageError(f"{shown(path)}: the name of a sound must end in {' or '.join(FORMATS)}")
    above = next(place for place in path.absolute().parents if place.exists())
    if path.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        raise UsageError(f"{shown(path)}: cannot be written; choose another place")


def write_sound(path: str | os.PathLike, waveform: Float[np.ndarray, " n"], sample_rate: int) -> Path:
    """Writes 16-bit samples of a waveform in [-1, 1] and returns the path, "~" expanded; what is beyond is cut, the folder is made.

    Raises:
      UsageError: another ending than .wav and .flac, or the place cannot be written.
    """
    check_place(path)
    buffer = io.BytesIO()
    samples = np.round(np.clip(waveform, -1.0, 1.0) * 32767).astype(np.int16)
    soundfile.write(buffer, samples, sample_rate, format=FORMATS[Path(path).suffix], subtype="PCM_16")
    return write_whole(path, buffer.getvalue())
