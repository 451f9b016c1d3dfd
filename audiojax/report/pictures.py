"""Spectrogram pictures: log-mel energy as a small PNG, computed on the host with numpy and librosa's filter bank."""

import io

import librosa
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from matplotlib import image as mpl_image

FLOOR_DB = 80.0  # the picture spans this many dB below its loudest point


def _filter_bank(sample_rate: int, n_fft: int, bands: int) -> np.ndarray:
    """[bands, n_fft // 2 + 1] Slaney mel weights from 40 Hz to half the sample rate."""
    return librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=bands, fmin=min(40.0, sample_rate / 8))


def as_float(waveform: np.ndarray) -> Float[np.ndarray, " n"]:
    """The waveform as float32 [n] in [-1, 1]; int16 is scaled by 1/32768, anything not finite becomes 0.

    Raises:
      ValueError: the array is not one-dimensional.
    """
    waveform = np.asarray(waveform)
    if waveform.ndim != 1:
        raise ValueError(f"a picture and a player need mono sound [n], got shape {waveform.shape}")
    scale = 32768.0 if waveform.dtype == np.int16 else 1.0
    return np.nan_to_num(waveform.astype(np.float32) / scale, nan=0.0, posinf=1.0, neginf=-1.0)


def log_mel_picture(waveform: np.ndarray, sample_rate: int, *, bands: int = 96, columns: int = 320) -> Float[np.ndarray, "bands columns"]:
    """Mel energy in dB below the loudest point, in [-FLOOR_DB, 0]; row 0 is the highest band, silence is all -FLOOR_DB.

    Frames of 64 ms (a power of two) with a periodic Hann window, `columns` of them spread evenly over the clip.

    Args:
      waveform: float [n] in [-1, 1] or int16 [n], mono; may be empty.
      sample_rate: Hz.
    """
    n_fft = max(64, 2 ** round(np.log2(0.064 * sample_rate)))
    padded = np.pad(as_float(waveform), n_fft // 2)
    if padded.size < n_fft:
        padded = np.pad(padded, (0, n_fft - padded.size))
    starts = np.linspace(0, padded.size - n_fft, columns).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[starts]  # [columns, n_fft]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    power = np.abs(np.fft.rfft(frames * window, axis=-1)) ** 2  # [columns, bins]
    mel = _filter_bank(sample_rate, n_fft, bands) @ power.T  # [bands, columns]
    peak = mel.max()
    if peak < 1e-10:
        return np.full((bands, columns), -FLOOR_DB, np.float32)
    decibel = 10 * np.log10(np.maximum(mel / peak, 10 ** (-FLOOR_DB / 10)))
    return decibel[::-1].astype(np.float32)


def spectrogram_pixels(
    waveform: np.ndarray, sample_rate: int, *, bands: int = 96, columns: int = 320, colormap: str = "magma"
) -> UInt8[np.ndarray, "bands columns 3"]:
    """The spectrogram as RGB, time to the right, pitch upwards, bright is loud.

    Args:
      waveform: float [n] in [-1, 1] or int16 [n], mono.
      sample_rate: Hz.
      colormap: a matplotlib name.
    """
    decibel = log_mel_picture(waveform, sample_rate, bands=bands, columns=columns)
    return np.ascontiguousarray(colormaps[colormap](1 + decibel / FLOOR_DB, bytes=True)[..., :3])


def spectrogram_png(waveform: np.ndarray, sample_rate: int, **options: int | str) -> bytes:
    """`spectrogram_pixels` as a PNG file."""
    buffer = io.BytesIO()
    mpl_image.imsave(buffer, spectrogram_pixels(waveform, sample_rate, **options), format="png")
    return buffer.getvalue()
