"""One event of a class as a waveform: family function, repetition, brightness, all from the event's own random stream.

Attributes change the sound in one stated direction: pitch (fundamental x 0.6 or x 1.65), rate (hits per second x 0.5 or x 2), duration
(set by the scene), brightness (spectral tilt of -6 or +6 dB per octave around 1 kHz). Distance belongs to the acoustics (`render`).
"""

import numpy as np
from jaxtyping import Float32

from audiojax.data.soundworld.classes import SoundClass

PITCH = {"low": 0.6, "high": 1.65}
RATE = {"slow": 0.55, "fast": 1.9}
TILT = {"dull": -6.0, "bright": 5.0}  # dB per octave


def event(
    rng: np.random.Generator, sample_rate: int, row: SoundClass, seconds: float, count: int, attributes: dict[str, str]
) -> Float32[np.ndarray, " samples"]:
    """Waveform float32 [round(seconds * sample_rate)] of unit RMS over its sounding part.

    A `single` class sounds `count` times, `row.spacing` s apart; the others fill `seconds`.
    """
    pitch = PITCH.get(attributes.get("pitch"), 1.0) * np.exp(rng.uniform(-0.08, 0.08))
    tempo = RATE.get(attributes.get("rate"), 1.0) * np.exp(rng.uniform(-0.1, 0.1))
    n = round(seconds * sample_rate)
    if row.kind == "single":
        wave = np.zeros(n)
        for number in range(count):
            one = row.make(rng, sample_rate, row.unit, pitch, tempo, **row.params)
            start = round(number * row.spacing * sample_rate)
            wave[start : start + len(one)] += one[: max(0, n - start)]
    else:
        wave = row.make(rng, sample_rate, seconds, pitch, tempo, **row.params)
    return unit_rms(tilt(wave, sample_rate, TILT.get(attributes.get("brightness"), 0.0))).astype(np.float32)


def tilt(wave: np.ndarray, sample_rate: int, slope: float) -> np.ndarray:
    """Spectrum tilted by `slope` dB per octave around 1 kHz, flat below 200 Hz and above 6 kHz."""
    if slope == 0.0:
        return wave
    size = len(wave) + sample_rate // 10  # room for the filter to ring before and after
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate)
    octaves = np.log2(np.clip(frequencies, 200.0, 6000.0) / 1000.0)
    return np.fft.irfft(np.fft.rfft(wave, size) * 10 ** (slope * octaves / 20), size)[: len(wave)]


def unit_rms(wave: np.ndarray) -> np.ndarray:
    """Wave scaled so that the RMS of its louder half of 10 ms blocks (about: where it sounds) is one; silence stays silence."""
    block = max(1, min(160, len(wave)))
    power = (wave[: len(wave) // block * block].reshape(-1, block) ** 2).mean(1)
    level = np.sqrt(np.sort(power)[len(power) // 2 :].mean())
    return wave / level if level > 1e-9 else wave
