"""Writes log_mel.npz: half a second of test sound and its log-mel under every STFT convention, by librosa in float64.

Run from the repository root: python -m tests.golden.make_log_mel
"""

from pathlib import Path

import librosa
import numpy as np

from audiojax.audio.spectral import PRESETS, MelConfig

FILE = Path(__file__).with_name("log_mel.npz")


def make_waveform() -> np.ndarray:
    """Noise with a rising chirp in it and a quiet tail [8000]."""
    t = np.arange(8000) / 16_000
    chirp = 0.3 * np.sin(2 * np.pi * (200 * t + 3000 * t**2))
    x = chirp + 0.1 * np.random.default_rng(0).standard_normal(len(t))
    x[6000:] *= 0.01
    return x.astype(np.float32)


def librosa_log_mel(clip: np.ndarray, config: MelConfig) -> np.ndarray:
    """Log-mel [frames, mels] of an STFT convention."""
    if config.padding == "same":
        clip = np.pad(clip, (config.n_fft - config.hop) // 2, mode="reflect")
    htk = config.filter_bank == "htk"
    mel = librosa.feature.melspectrogram(
        y=clip.astype(np.float64),
        sr=config.sample_rate,
        n_fft=config.n_fft,
        win_length=config.win_length,
        hop_length=config.hop,
        center=config.padding == "center",
        pad_mode="reflect",
        power=config.power,
        n_mels=config.n_mels,
        fmin=config.f_min,
        fmax=config.f_max,
        htk=htk,
        norm=None if htk else "slaney",
        dtype=np.float64,
    )
    if config.log == "ln":
        return np.log(np.maximum(mel, config.floor)).T
    return librosa.power_to_db(mel, ref=1.0, amin=config.floor, top_db=None).T


def main() -> None:
    waveform = make_waveform()
    mels = {name: librosa_log_mel(waveform, config).astype(np.float32) for name, config in PRESETS.items() if config.filter_bank != "kaldi"}
    np.savez_compressed(FILE, waveform=waveform, **mels)


if __name__ == "__main__":
    main()
