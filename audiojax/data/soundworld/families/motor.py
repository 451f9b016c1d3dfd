"""Engines, rotors and creaks: pulse trains whose rate is itself heard as pitch or rhythm.

Same function form as the other families: (rng, rate, seconds, pitch, tempo, **class parameters) -> waveform [round(seconds * rate)].
"""

import numpy as np

from audiojax.data.soundworld.families import signal as s


def engine(rng, rate, seconds, pitch, tempo):
    """A car engine: low harmonic hum with slow wobble and soft exhaust noise."""
    n = round(seconds * rate)
    track = 82 * pitch * (1 + 0.05 * s.wander(rng, n, rate, 2.5))
    hum = s.periodic(track, rate, 0.8, 14, 0.8) * (1 + 0.35 * s.sine(track / 8, rate))
    exhaust = s.band(s.noise(rng, n), rate, 80, 700) * (0.6 + 0.4 * s.sine(track / 2, rate))
    return (hum + 0.25 * exhaust / exhaust.std()) * s.fade(n, rate, 0.12, 0.15)


def motorcycle(rng, rate, seconds, pitch, tempo):
    """A motorcycle: separate firing pops that rev up and down."""
    n = round(seconds * rate)
    rev = s.curve(((0, 0.7), (0.4, 1.7), (0.6, 1.6), (1, 0.8)), n)
    fires = np.flatnonzero(np.diff(np.floor(np.cumsum(38 * pitch * rev) / rate), prepend=0))
    pulses = np.zeros(n)
    pulses[fires] = rng.uniform(0.6, 1.0, len(fires)) * np.where(np.arange(len(fires)) % 2, 1.0, 0.6)
    pipe = s.resonate(pulses, rate, tuple(f * pitch**0.6 for f in (160, 420, 900, 2400)), (60, 120, 240, 700), (1, 0.8, 0.7, 0.5))
    return pipe * s.fade(n, rate, 0.05, 0.1)


def helicopter(rng, rate, seconds, pitch, tempo):
    """Rotor blades: thuds of low noise about 11 times a second over a turbine whine."""
    n = round(seconds * rate)
    t = np.arange(n) / rate
    thud = np.clip(np.cos(2 * np.pi * 11 * tempo * t + rng.uniform(0, 6)), 0, None) ** 4
    blades = s.band(s.noise(rng, n), rate, 60, 650) * (0.04 + thud)
    slap = s.band(s.noise(rng, n), rate, 900, 3000) * thud**2
    whine = s.sine(np.full(n, 2600.0), rate)
    return (blades / blades.std() + 0.25 * slap / slap.std() + 0.06 * whine) * s.fade(n, rate, 0.1, 0.15)


def drill(rng, rate, seconds, pitch, tempo):
    """An electric drill: spins up to a steady bright whine with gear noise."""
    n = round(seconds * rate)
    t = np.arange(n) / rate
    spin = 1 - 0.65 * np.exp(-t / 0.09)
    track = 460 * pitch * spin * (1 + 0.006 * s.wander(rng, n, rate, 25))
    whine = s.periodic(track, rate, 0.25, 16)
    gear = s.band(s.noise(rng, n), rate, 2500, 6500) * (0.6 + 0.4 * s.sine(track / 4, rate))
    return (whine + 0.12 * gear / gear.std()) * s.fade(n, rate, 0.03, 0.08)


def chainsaw(rng, rate, seconds, pitch, tempo):
    """A chainsaw: a rasping buzz that is throttled up and down twice a second."""
    n = round(seconds * rate)
    throttle = 0.5 - 0.5 * np.cos(2 * np.pi * 1.9 * np.arange(n) / rate)
    track = 120 * pitch * (0.75 + 0.8 * throttle)
    buzz = s.periodic(track, rate, 0.15, 60) * (1 + 0.5 * s.wander(rng, n, rate, 300))
    rasp = s.resonate(buzz, rate, (700, 1700, 3300), (250, 500, 900), (1, 1, 0.9))
    return rasp * (0.4 + 0.6 * throttle) * s.fade(n, rate, 0.04, 0.08)


def creak(rng, rate, seconds, pitch, tempo):
    """A door hinge: stick-slip clicks that speed from a rattle to a squeak and back."""
    n = round(seconds * rate)
    speed = pitch * s.curve(((0, 22), (0.35, 70), (0.6, 260), (0.8, 330), (1, 60)), n) * (1 + 0.05 * s.wander(rng, n, rate, 12))
    slips = np.diff(np.floor(np.cumsum(speed) / rate), prepend=0)
    wood = s.resonate(slips, rate, (850 * pitch, 1900 * pitch, 3300 * pitch), (70, 110, 200), (0.8, 1.0, 0.5))
    return wood * s.fade(n, rate, 0.03, 0.12)
