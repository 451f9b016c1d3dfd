"""A scene as audio: events at their times, distance, room, background noise and the microphone of a domain.

`studio` is a quiet, fairly dry room and a flat microphone. `field` is a livelier place with noise 16 to 26 dB below the sounds and a
band-limited, coloured recorder. The events are the same in both. Absolute level carries nothing: every clip is scaled to a random peak.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Int16

from audiojax.data.soundworld import scenes, synthesis
from audiojax.data.soundworld.classes import BY_NAME
from audiojax.data.soundworld.families import signal
from audiojax.data.soundworld.scenes import Scene

LOUDNESS = {"quiet": -11.0, "loud": 9.0}  # dB against the other events of the clip
FAR_CUT = 1700.0  # Hz: air and obstacles take the highs


@dataclass(frozen=True)
class Acoustics:
    """Ranges of one domain: reverberation in s, room amplitude at no stated distance, noise in dB below the sounds, band in Hz."""

    reverberation: tuple[float, float]
    share: float
    noise: tuple[float, float]
    band: tuple[float, float] | None


ACOUSTICS = {
    "studio": Acoustics((0.5, 0.75), 0.3, (38.0, 48.0), None),
    "field": Acoustics((0.8, 1.1), 0.36, (16.0, 26.0), (140.0, 5200.0)),
}


def render(scene: Scene, domain: str = "studio", sample_rate: int = 16_000) -> Int16[np.ndarray, " samples"]:
    """Mono int16 [round(seconds * sample_rate)] of a scene; bit-equal on every call. Peaks lie between -10 and -1 dBFS."""
    acoustics = ACOUSTICS[domain]
    n = round(scene.seconds * sample_rate)
    rng = np.random.default_rng(scenes.stable_hash(scene.seed, "acoustics", domain))
    direct, room = np.zeros(n), np.zeros(n)
    for event in scene.events:
        wave = synthesis.event(
            np.random.default_rng(event.seed), sample_rate, BY_NAME[event.name], event.offset - event.onset, event.count, event.attributes
        )
        near, far = distance_mix(event.attributes.get("distance"), acoustics.share)
        if event.attributes.get("distance") == "far":
            wave = synthesis.unit_rms(signal.band(wave, sample_rate, None, FAR_CUT, 1))
        gain = 10 ** ((LOUDNESS.get(event.attributes.get("loudness"), 0.0) + rng.uniform(-1, 1)) / 20)
        start = round(event.onset * sample_rate)
        stop = min(n, start + len(wave))
        direct[start:stop] += gain * near * wave[: stop - start]
        room[start:stop] += gain * far * wave[: stop - start]
    mix = direct + scipy.signal.fftconvolve(room, room_response(rng, sample_rate, rng.uniform(*acoustics.reverberation)))[:n]
    mix += background(rng, n, sample_rate) * 10 ** (-rng.uniform(*acoustics.noise) / 20)
    mix = microphone(rng, mix, sample_rate, acoustics.band)
    peak = 10 ** (rng.uniform(-10, -1) / 20)
    return np.round(mix * (peak * 32767 / np.abs(mix).max())).astype(np.int16)


def distance_mix(distance: str | None, share: float) -> tuple[float, float]:
    """Amplitudes (direct, reverberant) of unit energy: near is dry, far is mostly room, between them the domain's share."""
    energy = {"near": 0.0, "far": 0.75}.get(distance, share**2)
    return float(np.sqrt(1 - energy)), float(np.sqrt(energy))


def room_response(rng: np.random.Generator, sample_rate: int, reverberation: float) -> np.ndarray:
    """Diffuse room response of unit energy: noise that dies by 60 dB in `reverberation` s, its highs twice as fast, after a 12 ms gap."""
    n = round(0.8 * reverberation * sample_rate)
    t = np.arange(n) / sample_rate
    source = rng.standard_normal(n)
    low = signal.band(source, sample_rate, None, 1800.0, 1)
    tail = (low * 10 ** (-3 * t / reverberation) + (source - low) * 10 ** (-6 * t / reverberation)) * (t > 0.012)
    return tail / np.sqrt((tail**2).sum())


def background(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    """Noise of unit RMS with a spectrum that falls by 2 to 5 dB per octave, as rooms and streets do."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequencies = np.maximum(np.fft.rfftfreq(n, 1 / sample_rate), 40.0)
    noise = np.fft.irfft(spectrum * (frequencies / 40.0) ** (-rng.uniform(2, 5) / 6.02), n)
    return noise / noise.std()


def microphone(rng: np.random.Generator, wave: np.ndarray, sample_rate: int, limits: tuple[float, float] | None) -> np.ndarray:
    """The recorder: nothing but a rumble filter in the studio, else a band limit and two random peaks of its response."""
    if limits is None:
        return signal.band(wave, sample_rate, 25.0, None)
    centres, gains = rng.uniform((250, 1500), (900, 4000)), rng.uniform(-0.4, 0.8, 2)
    coloured = wave + signal.resonate(wave, sample_rate, tuple(centres), tuple(0.6 * centres), tuple(gains))
    return signal.band(coloured, sample_rate, limits[0] * rng.uniform(0.8, 1.2), limits[1] * rng.uniform(0.85, 1.15))
