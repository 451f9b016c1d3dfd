"""Weather, water, fire, blasts and friction: shaped noise and showers of small events.

Same function form as the other families: (rng, rate, seconds, pitch, tempo, **class parameters) -> waveform [round(seconds * rate)].
"""

import numpy as np

from audiojax.data.soundworld.families import signal as s


def rain(rng, rate, seconds, pitch, tempo):
    """Steady hiss above 1 kHz with thousands of tiny drops."""
    n = round(seconds * rate)
    hiss = s.band(s.noise(rng, n), rate, 1000, 7200)
    drops = np.zeros(n)
    hits = rng.integers(0, n, int(160 * seconds))
    np.add.at(drops, hits, rng.exponential(1.0, len(hits)))
    drops = s.resonate(drops, rate, (2100, 3600, 5200), (500, 700, 900), (1, 1, 1))
    return (hiss / hiss.std() + 1.8 * drops / drops.std()) * s.fade(n, rate, 0.08, 0.12)


def wind(rng, rate, seconds, pitch, tempo):
    """Low howling noise whose narrow band wanders in gusts."""
    n = round(seconds * rate)
    source = s.noise(rng, n)
    position = np.clip(0.5 + 0.5 * s.wander(rng, n, rate, 2.2), 0, 1)
    layers = [s.resonate(source, rate, (f,), (0.16 * f,), (1.0,)) for f in (300, 430, 620)]
    layers = [layer / layer.std() for layer in layers]
    howl = sum(layer * np.clip(1 - 2 * np.abs(position - place), 0.03, 1) for layer, place in zip(layers, (0, 0.5, 1), strict=True))
    return (howl + 0.12 * s.band(source, rate, None, 500)) * (0.5 + 0.5 * position) * s.fade(n, rate, 0.15, 0.2)


def waves(rng, rate, seconds, pitch, tempo):
    """Surf: broad noise that swells, breaks with a rush of highs, and draws back."""
    n = round(seconds * rate)
    period = max(0.8, min(seconds, 1.3))
    phase = (np.arange(n) / rate / period) % 1.0
    swell = np.interp(phase, (0, 0.45, 0.55, 1), (0.06, 0.6, 1.0, 0.06))
    foam = np.interp(phase, (0, 0.42, 0.55, 0.85, 1), (0, 0.1, 1.0, 0.15, 0))
    low, high = s.band(s.noise(rng, n), rate, 80, 700), s.band(s.noise(rng, n), rate, 1200, 6500)
    return (low / low.std() * swell + 0.75 * high / high.std() * foam) * s.fade(n, rate, 0.1, 0.15)


def fire(rng, rate, seconds, pitch, tempo):
    """Crackling: sparse sharp snaps of every strength over a low flutter."""
    n = round(seconds * rate)
    snaps = np.zeros(n)
    hits = rng.integers(0, n, max(4, int(26 * seconds)))
    np.add.at(snaps, hits, rng.pareto(1.6, len(hits)).clip(0, 8) + 0.4)
    kernel = s.noise(rng, round(0.012 * rate)) * s.decay(round(0.012 * rate), rate, 0.0025, 0.0003)
    snaps = np.convolve(snaps, kernel)[:n]
    flutter = s.band(s.noise(rng, n), rate, 60, 350) * (1 + 0.4 * s.wander(rng, n, rate, 9))
    return (snaps / snaps.std() + 0.25 * flutter / flutter.std()) * s.fade(n, rate, 0.03, 0.05)


def bubbling(rng, rate, seconds, pitch, tempo):
    """Gurgling water: overlapping bubbles, each a short sine that rises as it closes."""
    n = round(seconds * rate)
    pieces, starts = [], np.sort(rng.uniform(0, seconds - 0.06, max(6, int(19 * seconds)))) * rate
    for _ in starts:
        length = rng.uniform(0.05, 0.11)
        size = round(length * rate)
        track = 430 * pitch * np.exp(rng.normal(0, 0.4)) * s.curve(((0, 1.0), (1, 1.9)), size)
        pieces.append(s.sine(track, rate) * s.decay(size, rate, 0.35 * length, 0.008) * rng.uniform(0.3, 1))
    return s.place(pieces, starts, n) * s.fade(n, rate, 0.01, 0.05)


def thunder(rng, rate, seconds, pitch, tempo):
    """A broadband crack, then a low roll that rumbles away in claps."""
    n = round(seconds * rate)
    roll = s.band(s.noise(rng, n), rate, 30, 240) * np.abs(1 + 0.7 * s.wander(rng, n, rate, 9))
    crack = s.band(s.noise(rng, n), rate, 300, 5000) * s.decay(n, rate, 0.07, 0.005)
    return (roll / roll.std() + 2.2 * crack) * s.curve(((0, 0), (0.03, 1), (0.4, 0.8), (1, 0)), n)


def shot(rng, rate, seconds, pitch, tempo):
    """A gunshot: an instant broadband blast with a fast double decay."""
    n = round(seconds * rate)
    blast = s.noise(rng, n) * (s.decay(n, rate, 0.012, 0.0003) + 0.16 * s.decay(n, rate, 0.1, 0.002))
    thump = np.sin(2 * np.pi * 85 * np.arange(n) / rate) * s.decay(n, rate, 0.05)
    return blast + 0.6 * thump


def steam(rng, rate, seconds, pitch, tempo):
    """A steam train: chuffs of mid-band noise in groups of four with the first one accented."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 5.0 * tempo, 0.01)
    size = round(0.75 / (5.0 * tempo) * rate)
    chuffs = []
    for index in range(len(times)):
        puff = s.band(s.noise(rng, size), rate, 250, 2200, 1) * s.curve(((0, 0), (0.15, 1), (0.5, 0.35), (1, 0)), size)
        chuffs.append(puff * (1.0 if index % 4 == 0 else 0.5))
    return s.place(chuffs, times * rate, n)


def saw(rng, rate, seconds, pitch, tempo):
    """A hand saw: push and pull strokes of rasping noise, the two of different colour."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 3.4 * tempo, 0.03, 0.2)
    size = round(0.8 / (3.4 * tempo) * rate)
    strokes = []
    for index in range(len(times)):
        teeth = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * (70 if index % 2 else 95) * np.arange(size) / rate))
        centre = 2600 if index % 2 else 1700
        noise = s.resonate(s.noise(rng, size), rate, (centre, 2.1 * centre), (700, 1500), (1, 0.7))
        strokes.append(noise * teeth * s.curve(((0, 0), (0.25, 0.8), (0.75, 1), (1, 0)), size))
    return s.place(strokes, times * rate, n)


def zipper(rng, rate, seconds, pitch, tempo):
    """A zip: teeth clicks that speed up while their colour rises."""
    n = round(seconds * rate)
    speed = s.curve(((0, 55), (1, 190)), n)
    clicks = np.diff(np.floor(np.cumsum(speed) / rate), prepend=0) * rng.uniform(0.6, 1, n)
    low, high = (s.resonate(clicks, rate, (f * pitch,), (500,), (1.0,)) for f in (1500, 4600))
    rise = np.linspace(0, 1, n)
    return (low * (1 - rise) + high * rise + 0.02 * s.band(s.noise(rng, n), rate, 2500, None)) * s.fade(n, rate, 0.02, 0.03)
