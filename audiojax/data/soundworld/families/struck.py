"""Struck and plucked things: bells, glass, gong, xylophone, telephone bell, guitar. Inharmonic decaying partials and a string loop.

Every family function: (rng, rate, seconds, pitch, tempo, **class parameters) -> waveform float64 [round(seconds * rate)];
`pitch` multiplies frequencies, `tempo` multiplies repetition rates.
"""

import numpy as np
import scipy

from audiojax.data.soundworld.families import signal as s

BELL = (0.5, 1.0, 1.19, 1.5, 2.0, 2.51, 2.66, 3.01, 4.1, 5.4)  # hum, prime, tierce, quint, nominal, ...
BAR = (1.0, 2.76, 5.40, 8.93)  # free bar
GLASS = (1.0, 1.52, 2.32, 3.46, 4.25)
PENTATONIC = 2.0 ** (np.array([0, 2, 4, 7, 9, 12]) / 12)


def strike(rng, rate, seconds, pitch, tempo, *, frequency, ratios, ring, damping=0.6, knock=0.3):
    """One blow on a resonating body; `ring` s is the decay of its lowest partial, higher ones die by ratio^-damping."""
    n = round(seconds * rate)
    ratios = np.asarray(ratios) * np.exp(rng.normal(0, 0.004, len(ratios)))
    amplitudes = ratios**-0.4 * rng.uniform(0.7, 1.3, len(ratios))
    body = s.modes(rng, n, rate, frequency * pitch * ratios, amplitudes, ring * ratios**-damping)
    click = s.band(s.noise(rng, n), rate, frequency * pitch, None) * s.decay(n, rate, 0.006)
    return (body + knock * click) * s.fade(n, rate, 0.001, 0.12 * seconds)


def gong(rng, rate, seconds, pitch, tempo):
    """Dense low partials whose upper half blooms after the blow, with slow beating."""
    n = round(seconds * rate)
    low = 95 * pitch * np.array([1.0, 1.013, 1.47, 1.49, 2.09, 2.11, 2.56])
    body = s.modes(rng, n, rate, low, np.array([1, 0.9, 0.7, 0.6, 0.6, 0.5, 0.4]), np.full(7, 1.4))
    high = 95 * pitch * np.sort(rng.uniform(3, 16, 26))
    shimmer = s.modes(rng, n, rate, high, rng.uniform(0.1, 0.32, 26), np.full(26, 0.5))
    bloom = 1 - np.exp(-np.arange(n) / rate / 0.12)
    return (body + shimmer * bloom) * s.fade(n, rate, 0.004, 0.25 * seconds)


def xylophone(rng, rate, seconds, pitch, tempo):
    """Wooden bars played in a wandering pentatonic line."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 4.5 * tempo, 0.01)
    steps = np.abs(np.cumsum(rng.choice([-2, -1, 1, 2], len(times))) + 3) % 6
    notes = []
    for step in steps:
        size = round(0.28 * rate)
        f = 620 * pitch * PENTATONIC[step] * np.array(BAR[:3])
        note = s.modes(rng, size, rate, f, np.array([1.0, 0.35, 0.12]), np.array([0.09, 0.03, 0.015]))
        notes.append(note * s.fade(size, rate, 0.001, 0.05))
    return s.place(notes, times * rate, n)


def telephone(rng, rate, seconds, pitch, tempo):
    """Two small bells struck in turn about 22 times a second, in bursts."""
    n = round(seconds * rate)
    hits = np.arange(0, seconds, 1 / 22)
    size = round(0.16 * rate)
    bells = [
        s.modes(rng, size, rate, f * pitch * np.array([1, 2.02, 3.1]), np.array([1, 0.6, 0.5]), np.full(3, 0.045)) for f in (1150, 1420)
    ]
    bells = [bell * s.fade(size, rate, 0.001, 0.03) for bell in bells]
    rings = s.place([bells[i % 2] for i in range(len(hits))], hits * rate, n)
    t = np.arange(n) / rate
    bursts = (t % 0.62 < 0.44).astype(float) if seconds > 0.6 else np.ones(n)
    smooth = np.convolve(bursts, np.hanning(round(0.02 * rate)) / (0.01 * rate), "same")
    return rings * smooth * s.fade(n, rate, 0.005, 0.05)


def pluck(rng, rate, seconds, pitch, tempo, *, frequency):
    """Karplus-Strong string: a noise burst in a damped delay loop (Karplus and Strong 1983)."""
    n = round(seconds * rate)
    period = max(4, round(rate / (frequency * pitch)))
    burst = np.zeros(n)
    burst[:period] = s.band(rng.uniform(-1, 1, period), rate, None, 3500)[: min(period, n)]
    loop = np.zeros(period + 2)
    loop[0], loop[period], loop[period + 1] = 1.0, -0.498, -0.498
    return scipy.signal.lfilter([1.0], loop, burst) * s.fade(n, rate, 0.001, 0.2 * seconds)
