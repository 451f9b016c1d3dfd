"""Sound and pictures as data URIs, so that a page plays without any other file."""

import base64
import io

import numpy as np
import soundfile

from audiojax.report.pictures import as_float


def data_uri(content: bytes, media_type: str) -> str:
    """`data:<media_type>;base64,...` of the content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def audio_uri(waveform: np.ndarray, sample_rate: int) -> str:
    """The clip as lossless FLAC, which every current browser plays; sound over full scale is turned down, never clipped.

    Args:
      waveform: float [n] in [-1, 1] or int16 [n], mono.
      sample_rate: Hz, up to 655,350 (FLAC's limit; the report resamples nothing).
    """
    samples = as_float(waveform)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > 1.0:
        samples = samples / peak
    buffer = io.BytesIO()
    soundfile.write(buffer, np.round(samples * 32767).astype(np.int16), sample_rate, format="FLAC", subtype="PCM_16")
    return data_uri(buffer.getvalue(), "audio/flac")
