"""Pipes, horns, whistles and whistling animals: steady or gliding tones with few or many harmonics.

Same function form as the other families: (rng, rate, seconds, pitch, tempo, **class parameters) -> waveform [round(seconds * rate)].
"""

import numpy as np

from audiojax.data.soundworld.families import signal as s


def siren(rng, rate, seconds, pitch, tempo):
    """A wailing siren: a hollow tone that sweeps up and down over an octave about once a second."""
    n = round(seconds * rate)
    phase = 2 * np.pi * (1.0 * np.arange(n) / rate + rng.uniform(0, 0.3))
    return s.periodic(820 * pitch * 2 ** (-0.55 * np.cos(phase)), rate, 1.3, 12, 0.5) * s.fade(n, rate, 0.03, 0.06)


def horn(rng, rate, seconds, pitch, tempo, *, frequencies, slope, breath=0.0, swell=0.02):
    """A blown chord of rich tones (car horn, ship horn)."""
    n = round(seconds * rate)
    chord = sum(s.periodic(np.full(n, f * pitch * np.exp(rng.normal(0, 0.003))), rate, slope) for f in frequencies)
    return (chord + breath * s.band(s.noise(rng, n), rate, 60, 900)) * s.fade(n, rate, swell, 0.06)


def beeps(rng, rate, seconds, pitch, tempo):
    """An electronic alarm: equal beeps of one hollow tone."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 3.6 * tempo, 0.0, 0.12)
    size = round(0.45 / (3.6 * tempo) * rate)
    beep = s.periodic(np.full(size, 1900.0 * pitch), rate, 1.0, 6, 0.0) * s.fade(size, rate, 0.004, 0.004)
    return s.place([beep] * len(times), times * rate, n)


def flute(rng, rate, seconds, pitch, tempo):
    """A flute: soft tone with vibrato and breath, changing note every third of a second."""
    n = round(seconds * rate)
    notes = 2.0 ** (rng.choice([0, 2, 4, 5, 7], max(1, round(seconds / 0.35))) / 12)
    steps = np.repeat(notes, -(-n // len(notes)))[:n]
    glide = round(0.03 * rate)
    steps = np.convolve(np.pad(steps, glide, mode="edge"), np.ones(glide) / glide, "same")[glide:-glide]
    track = 560 * pitch * steps * (1 + 0.008 * np.sin(2 * np.pi * 5.2 * np.arange(n) / rate))
    breath = s.band(s.noise(rng, n), rate, 1500, 5500)
    return (s.periodic(track, rate, 2.2, 8) + 0.06 * breath) * s.fade(n, rate, 0.06, 0.1)


def violin(rng, rate, seconds, pitch, tempo):
    """A bowed string: bright saw tone with wide vibrato and body resonances."""
    n = round(seconds * rate)
    t = np.arange(n) / rate
    track = 330 * pitch * (1 + 0.017 * np.sin(2 * np.pi * 6 * t)) * (1 + 0.004 * s.wander(rng, n, rate, 8))
    source = s.periodic(track, rate, 0.85) + 0.03 * s.noise(rng, n)
    body = s.resonate(source, rate, (480, 1100, 2700, 4200), (150, 220, 500, 900), (0.8, 1.0, 1.0, 0.7))
    return (body + 0.2 * source) * s.fade(n, rate, 0.12, 0.1)


def whistle(rng, rate, seconds, pitch, tempo):
    """Someone whistling: a pure tone that slides between notes."""
    n = round(seconds * rate)
    knots = max(3, round(seconds * 3.2))
    line = 2.0 ** (rng.choice([-5, -2, 0, 3, 5, 7], knots) / 12)
    track = 1500 * pitch * np.interp(np.linspace(0, knots - 1, n), np.arange(knots), line)
    breath = s.band(s.noise(rng, n), rate, 1200 * pitch, 4000 * pitch)
    return (
        (s.sine(track, rate) + 0.03 * breath) * (0.75 + 0.25 * np.sin(2 * np.pi * 6.5 * np.arange(n) / rate)) * s.fade(n, rate, 0.05, 0.07)
    )


def calls(rng, rate, seconds, pitch, tempo, *, frequency, notes, breath=0.04):
    """Soft hooting calls (owl, cuckoo): `notes` are (start, length) as shares of the event and the relative pitch."""
    n = round(seconds * rate)
    pieces, starts = [], []
    for start, length, ratio in notes:
        size = round(length * seconds * rate)
        track = frequency * pitch * ratio * s.curve(((0, 0.96), (0.3, 1.0), (1, 0.95)), size)
        tone = s.sine(track, rate) + 0.25 * s.sine(2 * track, rate) + 0.08 * s.sine(3 * track, rate)
        hush = s.band(s.noise(rng, size), rate, 0.6 * frequency, 2 * frequency)
        pieces.append((tone + breath * hush) * s.fade(size, rate, 0.25 * length * seconds, 0.35 * length * seconds))
        starts.append(start * seconds * rate)
    return s.place(pieces, starts, n)


def chirps(rng, rate, seconds, pitch, tempo):
    """A small bird: quick rising and falling sweeps between 2.5 and 5 kHz."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 4.4 * tempo, 0.08)
    size = round(min(0.11, 0.7 / (4.4 * tempo)) * rate)
    pieces = []
    for index in range(len(times)):
        top = rng.uniform(1.35, 1.6)
        shape = ((0, 1.0), (0.35, top), (1, 0.85)) if index % 2 else ((0, top), (0.5, 0.9), (1, 1.25))
        pieces.append(s.sine(2700 * pitch * s.curve(shape, size), rate) * s.fade(size, rate, 0.012, 0.03))
    return s.place(pieces, times * rate, n)


def crickets(rng, rate, seconds, pitch, tempo):
    """Crickets: trills of a narrow band near 4.5 kHz, each of rapid pulses."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 3.0 * tempo, 0.02, 0.15)
    size = round(0.62 / (3.0 * tempo) * rate)
    t = np.arange(size) / rate
    pieces = []
    for _ in times:
        tone = np.sin(2 * np.pi * 4500 * pitch**0.6 * t) + 0.5 * np.sin(2 * np.pi * 4680 * pitch**0.6 * t)
        pieces.append(tone * (0.5 - 0.5 * np.cos(2 * np.pi * 34 * t)) * s.fade(size, rate, 0.01, 0.01))
    return s.place(pieces, times * rate, n)
