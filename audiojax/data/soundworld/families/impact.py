"""Things that hit things: steps, claps, knocks, hammer, hooves, keys, ticks, drops, a bouncing ball.

Same function form as the other families: (rng, rate, seconds, pitch, tempo, **class parameters) -> waveform [round(seconds * rate)].
"""

import numpy as np

from audiojax.data.soundworld.families import signal as s


def footsteps(rng, rate, seconds, pitch, tempo):
    """Steps: a dull heel thud and, a moment later, a gritty sole."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 2.9 * tempo, 0.03)
    size = round(0.16 * rate)
    steps = []
    for index in range(len(times)):
        heel = s.resonate(s.noise(rng, size) * s.decay(size, rate, 0.004), rate, (95, 210), (50, 90), (1, 0.7))
        grit = s.band(s.noise(rng, size), rate, 1200, 4200) * s.curve(((0, 0), (0.3, 0), (0.45, 1), (1, 0)), size)
        steps.append(
            (heel / np.abs(heel).max() + 0.09 * grit / grit.std()) * (1.0 if index % 2 else 0.85) * s.fade(size, rate, 0.001, 0.03)
        )
    return s.place(steps, times * rate, n)


def claps(rng, rate, seconds, pitch, tempo):
    """Hand claps: bursts of noise around 1 to 2 kHz made of three micro-bursts."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 3.4 * tempo, 0.04)
    size = round(0.09 * rate)
    hits = []
    for _ in times:
        envelope = sum(np.roll(s.decay(size, rate, 0.012, 0.0005), round(d * rate)) for d in (0, 0.008, 0.015))
        hits.append(s.band(s.noise(rng, size), rate, 800, 2600) * envelope)
    return s.place(hits, times * rate, n)


def knocks(rng, rate, seconds, pitch, tempo, *, modes, ring, rate_hz, click=0.1):
    """Equal blows on wood, metal or a key bed: `modes` Hz ring for `ring` s, `rate_hz` times a second."""
    n, times = round(seconds * rate), s.beats(rng, seconds, rate_hz * tempo, 0.03)
    frequencies = np.asarray(modes) * pitch
    size = round(min(max(6 * ring, 0.05), 0.45) * rate)
    hits = []
    for _ in times:
        body = s.modes(rng, size, rate, frequencies, np.linspace(1, 0.5, len(modes)), ring * (frequencies / frequencies[0]) ** -0.3)
        snap = s.noise(rng, size) * s.decay(size, rate, 0.0015, 0.0003)
        hits.append((body + click * len(modes) * snap) * s.fade(size, rate, 0.0005, 0.02))
    return s.place(hits, times * rate, n)


def typing(rng, rate, seconds, pitch, tempo):
    """A keyboard: irregular light clicks, each key a press and a softer release."""
    n = round(seconds * rate)
    times = np.sort(np.clip(s.beats(rng, seconds, 8.0 * tempo, 0.35), 0, seconds - 0.05))
    size = round(0.07 * rate)
    keys = []
    for _ in times:
        press = s.noise(rng, size) * (
            s.decay(size, rate, 0.003, 0.0003) + 0.5 * np.roll(s.decay(size, rate, 0.002, 0.0003), round(0.045 * rate))
        )
        keys.append(s.resonate(press, rate, (rng.uniform(1900, 2500), 4300), (500, 900), (1, 1)) * rng.uniform(0.4, 1))
    return s.place(keys, times * rate, n)


def gallop(rng, rate, seconds, pitch, tempo):
    """Hooves: groups of three hollow clops."""
    n, groups = round(seconds * rate), s.beats(rng, seconds, 2.1 * tempo, 0.02, 0.3)
    gap = 0.24 / (2.1 * tempo)
    times = np.concatenate([groups, groups + gap, groups + 2 * gap])
    size = round(0.07 * rate)
    kept = times[times < seconds - 0.04]
    hits = []
    for _ in kept:
        modes = np.array([520, 900, 1450]) * rng.uniform(0.9, 1.1)
        hits.append(s.modes(rng, size, rate, modes, np.array([1, 0.8, 0.4]), np.full(3, 0.012)) * s.fade(size, rate, 0.001, 0.02))
    return s.place(hits, kept * rate, n)


def ticks(rng, rate, seconds, pitch, tempo):
    """A clock: thin clicks, tick and tock alternating between two high resonances."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 3.2 * tempo, 0.0)
    size = round(0.05 * rate)
    sounds = [s.modes(rng, size, rate, np.array([f, 1.62 * f]), np.ones(2), np.array([0.006, 0.004])) for f in (3900, 3000)]
    sounds = [sound * s.fade(size, rate, 0.0005, 0.01) for sound in sounds]
    return s.place([sounds[i % 2] for i in range(len(times))], times * rate, n)


def drips(rng, rate, seconds, pitch, tempo):
    """Drops into water: a click, then a bubble whose pitch rises."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 2.7 * tempo, 0.1)
    size = round(0.14 * rate)
    drops = []
    for _ in times:
        track = 950 * pitch * rng.uniform(0.92, 1.08) * s.curve(((0, 0.8), (1, 1.75)), size)
        bubble = s.sine(track, rate) * s.decay(size, rate, 0.035, 0.004)
        drops.append(0.3 * s.noise(rng, size) * s.decay(size, rate, 0.0015, 0.0003) + np.roll(bubble, round(0.01 * rate)))
    return s.place(drops, times * rate, n)


def bounce(rng, rate, seconds, pitch, tempo):
    """A dropped ball: thumps that come ever faster and softer."""
    n, restitution = round(seconds * rate), 0.76
    gaps = restitution ** np.arange(14)
    times = np.concatenate([[0], np.cumsum(gaps)]) / gaps.sum() * (seconds - 0.1)
    size = round(0.1 * rate)
    hits = []
    for index in range(len(times)):
        tone = s.sine(240 * pitch * s.curve(((0, 1.4), (0.3, 1), (1, 0.9)), size), rate) * s.decay(size, rate, 0.022, 0.001)
        slap = s.band(s.noise(rng, size), rate, 700, 2500) * s.decay(size, rate, 0.004, 0.0005)
        hits.append((tone + 0.4 * slap) * restitution ** (0.6 * index))
    return s.place(hits, times * rate, n)
