"""Throats: barks, meows, moos, bleats, cries, speech, laughter, quacks, croaks. A pulsed source through moving formants.

Same function form as the other families: (rng, rate, seconds, pitch, tempo, **class parameters) -> waveform [round(seconds * rate)].
"""

import numpy as np

from audiojax.data.soundworld.families import signal as s

VOWELS = {  # formant centres in Hz
    "a": (750, 1200, 2500),
    "e": (480, 1900, 2550),
    "i": (300, 2250, 3000),
    "o": (460, 850, 2450),
    "u": (320, 750, 2300),
}


def throat(source: np.ndarray, rate: int, vowel: str, scale: float = 1.0, width: float = 90.0) -> np.ndarray:
    """Source through the three formants of a vowel; `scale` shrinks (> 1) or enlarges (< 1) the tract."""
    centres = tuple(scale * f for f in VOWELS[vowel])
    return s.resonate(source, rate, centres, (width, 1.3 * width, 2 * width), (1.0, 0.6, 0.3))


def bark(rng, rate, seconds, pitch, tempo):
    """A dog's bark: fast rise and fall of pitch, rough, open vowel, noisy."""
    n = round(seconds * rate)
    track = 380 * pitch * s.curve(((0, 0.75), (0.2, 1.25), (0.6, 0.9), (1, 0.55)), n) * (1 + 0.03 * s.wander(rng, n, rate, 60))
    source = s.periodic(track, rate, 0.7) + 0.35 * s.noise(rng, n)
    envelope = s.curve(((0, 0), (0.08, 1), (0.35, 0.8), (0.7, 0.12), (1, 0)), n)
    return throat(source, rate, "a", 1.15, 160) * envelope


def meow(rng, rate, seconds, pitch, tempo):
    """A cat's meow: pitch arches, the mouth opens from i over a to u."""
    n = round(seconds * rate)
    track = 620 * pitch * s.curve(((0, 0.8), (0.35, 1.25), (0.7, 1.1), (1, 0.7)), n) * (1 + 0.006 * np.sin(np.arange(n) / rate * 38))
    source = s.periodic(track, rate, 0.8) + 0.02 * s.noise(rng, n)
    weight = s.curve(((0, 0), (0.4, 1), (1, 0.2)), n)
    mouth = throat(source, rate, "i", 1.3) * (1 - weight) + throat(source, rate, "a", 1.5) * weight
    return mouth * s.curve(((0, 0), (0.12, 0.7), (0.45, 1), (0.8, 0.5), (1, 0)), n)


def moo(rng, rate, seconds, pitch, tempo):
    """A cow: long low tone, closed to open, pitch sags at the end."""
    n = round(seconds * rate)
    track = 130 * pitch * s.curve(((0, 0.85), (0.3, 1.1), (0.75, 1.05), (1, 0.75)), n)
    source = s.periodic(track, rate, 0.9)
    weight = s.curve(((0, 0), (0.35, 1), (1, 0.8)), n)
    mouth = throat(source, rate, "u", 0.8) * (1 - weight) + throat(source, rate, "o", 0.9) * weight
    return mouth * s.fade(n, rate, 0.15 * seconds, 0.25 * seconds)


def bleat(rng, rate, seconds, pitch, tempo):
    """A sheep: nasal tone with a deep, regular tremor of 9 Hz."""
    n = round(seconds * rate)
    tremor = np.sin(2 * np.pi * 9 * np.arange(n) / rate)
    source = s.periodic(330 * pitch * (1 + 0.05 * tremor), rate, 0.5)
    return throat(source, rate, "e", 1.1, 140) * (0.55 + 0.45 * tremor) * s.fade(n, rate, 0.04, 0.12)


def cry(rng, rate, seconds, pitch, tempo):
    """A baby: wails of half a second that rise and fall, with an indrawn breath between."""
    n = round(seconds * rate)
    count = max(1, round(seconds / 0.6))
    size = n // count
    wails = []
    for _ in range(count):
        track = 470 * pitch * rng.uniform(0.95, 1.05) * s.curve(((0, 0.75), (0.25, 1.15), (0.6, 1.1), (0.85, 0.8), (1, 0.7)), size)
        source = s.periodic(track * (1 + 0.012 * s.wander(rng, size, rate, 30)), rate, 0.5)
        breath = 0.05 * s.noise(rng, size) * s.curve(((0, 0), (0.84, 0), (0.92, 1), (1, 0)), size)
        wails.append(throat(source, rate, "a", 1.45, 120) * s.curve(((0, 0), (0.1, 1), (0.65, 0.9), (0.82, 0), (1, 0)), size) + breath)
    return s.place(wails, np.arange(count) * size, n) * s.fade(n, rate, 0.01, 0.03)


def speech(rng, rate, seconds, pitch, tempo):
    """A talking voice: syllables of changing vowels with fricatives between them."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 4.2 * tempo, 0.08, 0.15)
    size = round(min(0.2, 0.8 / (4.2 * tempo)) * rate)
    words = []
    for index in range(len(times)):
        track = 140 * pitch * rng.uniform(0.9, 1.15) * s.curve(((0, 1.05), (1, 0.9)), size)
        first, second = rng.choice(list(VOWELS), 2, replace=False)
        source, weight = s.periodic(track, rate, 0.9), np.linspace(0, 1, size)
        syllable = (throat(source, rate, first) * (1 - weight) + throat(source, rate, second) * weight) * s.fade(size, rate, 0.03, 0.06)
        if index % 2:
            hiss = s.band(s.noise(rng, size // 3), rate, 3200, 6500) * s.fade(size // 3, rate, 0.01, 0.02)
            syllable[: size // 3] += 0.08 * hiss * np.abs(syllable).max()
        words.append(syllable * rng.uniform(0.6, 1.0))
    return s.place(words, times * rate, n)


def laugh(rng, rate, seconds, pitch, tempo):
    """Laughter: equal breathy 'ha' pulses that fall in pitch and strength."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 5.0 * tempo, 0.03)
    size = round(0.65 / (5.0 * tempo) * rate)
    pulses = []
    for index in range(len(times)):
        fall = 1.25 - 0.5 * index / len(times)
        source = s.periodic(np.full(size, 230 * pitch * fall), rate, 0.7)
        breath = throat(s.noise(rng, size), rate, "a", 1.1, 400) * s.curve(((0, 1), (0.3, 0.2), (1, 0)), size)
        voice = throat(source, rate, "a", 1.05, 120)
        pulses.append((voice / np.abs(voice).max() + 0.5 * breath / np.abs(breath).max()) * s.decay(size, rate, 0.07, 0.02) * fall)
    return s.place(pulses, times * rate, n)


def quack(rng, rate, seconds, pitch, tempo):
    """A duck: short nasal buzzes, falling."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 3.0 * tempo, 0.06, 0.16)
    size = round(0.15 * rate)
    calls = []
    for _ in times:
        track = 210 * pitch * s.curve(((0, 1.15), (1, 0.8)), size)
        source = s.periodic(track, rate, 0.1)
        calls.append(s.resonate(source, rate, (1150, 2600, 3500), (180, 260, 300), (1, 0.9, 0.5)) * s.fade(size, rate, 0.012, 0.05))
    return s.place(calls, times * rate, n)


def croak(rng, rate, seconds, pitch, tempo):
    """A frog: bursts of about 45 clicks a second through one low resonance."""
    n, times = round(seconds * rate), s.beats(rng, seconds, 2.6 * tempo, 0.05, 0.2)
    size = round(min(0.22, 0.7 / (2.6 * tempo)) * rate)
    calls = []
    for _ in times:
        clicks = np.zeros(size)
        clicks[:: max(1, round(rate / (48 * pitch**0.5)))] = 1.0
        call = s.resonate(clicks, rate, (560 * pitch, 1300 * pitch), (140, 200), (1.0, 0.45))
        calls.append(call * s.curve(((0, 0.2), (0.6, 1), (1, 0)), size))
    return s.place(calls, times * rate, n)


def crow(rng, rate, seconds, pitch, tempo):
    """A rooster: three short notes and one long arching note, bright and rough."""
    n = round(seconds * rate)
    track = 560 * pitch * s.curve(((0, 0.8), (0.12, 1.05), (0.3, 1.2), (0.5, 1.5), (0.72, 1.45), (1, 0.8)), n)
    source = s.periodic(track * (1 + 0.015 * s.wander(rng, n, rate, 90)), rate, 0.4)
    syllables = ((0, 0), (0.03, 0.8), (0.12, 0.7), (0.16, 0), (0.18, 0.8), (0.26, 0.7), (0.3, 0), (0.33, 0.9), (0.4, 0.8))
    return throat(source, rate, "a", 1.4, 200) * s.curve((*syllables, (0.43, 0), (0.47, 1), (0.8, 0.9), (1, 0)), n)
