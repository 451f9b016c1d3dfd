"""Building blocks of every SoundWorld sound: noise, envelopes, resonators, wavetable oscillators. Vectorised numpy and scipy.

Conventions: `n` is a length in samples, `rate` a sample rate in Hz, frequencies are in Hz, times in seconds, waveforms float64 [n].
"""

import numpy as np
import scipy  # reads scipy.signal at its first use, which takes a second or more

TABLE = 2048  # samples in one wavetable cycle


def noise(rng: np.random.Generator, n: int) -> np.ndarray:
    """White Gaussian noise [n]."""
    return rng.standard_normal(n)


def band(x: np.ndarray, rate: int, low: float | None, high: float | None, order: int = 2) -> np.ndarray:
    """x through a Butterworth band-pass, high-pass (`high` None) or low-pass (`low` None); edges are held below Nyquist."""
    top = 0.47 * rate
    if low is None:
        return scipy.signal.sosfilt(scipy.signal.butter(order, min(high, top), "low", fs=rate, output="sos"), x)
    if high is None or high >= top:
        return scipy.signal.sosfilt(scipy.signal.butter(order, min(low, 0.9 * top), "high", fs=rate, output="sos"), x)
    return scipy.signal.sosfilt(scipy.signal.butter(order, (min(low, 0.8 * high), high), "band", fs=rate, output="sos"), x)


def resonate(x: np.ndarray, rate: int, centres: tuple, widths: tuple, gains: tuple) -> np.ndarray:
    """Sum of two-pole resonators of unit peak gain at `centres` with -3 dB `widths`, weighted by `gains`."""
    out = np.zeros_like(x)
    for centre, width, gain in zip(centres, widths, gains, strict=True):
        if centre >= 0.47 * rate:
            continue
        radius, angle = np.exp(-np.pi * width / rate), 2 * np.pi * centre / rate
        peak = (1 - radius) * np.sqrt(1 - 2 * radius * np.cos(2 * angle) + radius**2)
        out += gain * scipy.signal.lfilter([peak], [1, -2 * radius * np.cos(angle), radius**2], x)
    return out


def fade(n: int, rate: int, attack: float, release: float) -> np.ndarray:
    """Envelope [n] that rises over `attack` s, stays at one and falls over `release` s (raised cosines, no clicks)."""
    up, down = max(2, min(int(attack * rate), n // 2)), max(2, min(int(release * rate), n // 2))
    shape = np.ones(n)
    shape[:up] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(up) / up)
    shape[n - down :] *= 0.5 + 0.5 * np.cos(np.pi * (np.arange(down) + 1) / down)
    return shape


def decay(n: int, rate: int, seconds: float, attack: float = 0.002) -> np.ndarray:
    """Envelope [n]: linear attack, then exp(-t / seconds), brought to zero at the end."""
    t = np.arange(n) / rate
    return np.minimum(t / attack, 1.0) * np.exp(-t / seconds) * fade(n, rate, 1e-4, min(0.05, 0.3 * n / rate))


def curve(points: tuple, n: int) -> np.ndarray:
    """Piecewise-linear track [n] through `points`, pairs of (position in 0..1, value)."""
    positions, values = zip(*points, strict=True)
    return np.interp(np.linspace(0, 1, n), positions, values)


def wander(rng: np.random.Generator, n: int, rate: int, speed: float) -> np.ndarray:
    """Smooth random track [n] of about unit deviation with about `speed` turns per second."""
    knots = max(4, int(n / rate * speed) + 3)
    return np.interp(np.linspace(0, knots - 1, n), np.arange(knots), rng.standard_normal(knots))


def sine(track: np.ndarray, rate: int, phase: float = 0.0) -> np.ndarray:
    """Sine whose frequency in Hz follows `track` [n]."""
    return np.sin(2 * np.pi * np.cumsum(track) / rate + phase)


def periodic(track: np.ndarray, rate: int, slope: float, harmonics: int = 40, odd: float = 1.0) -> np.ndarray:
    """Band-limited harmonic tone: amplitude k^-slope, even harmonics scaled by `odd` (1 = saw-like, 0 = hollow), frequency `track` [n]."""
    count = max(1, min(harmonics, int(0.45 * rate / max(float(track.max()), 1.0)), TABLE // 2 - 1))
    k = np.arange(1, count + 1)
    spectrum = np.zeros(TABLE // 2 + 1, complex)
    spectrum[1 : count + 1] = k**-slope * np.where(k % 2 == 0, odd, 1.0) * np.exp(-0.5j * np.pi * k)
    table = np.fft.irfft(spectrum, TABLE)
    table = np.append(table, table[0]) / (np.abs(table).max() + 1e-12)
    position = np.cumsum(track) / rate % 1.0 * TABLE
    base = np.minimum(position.astype(np.int64), TABLE - 1)
    share = position - base
    return table[base] * (1 - share) + table[base + 1] * share


def place(pieces: list, starts: np.ndarray, n: int) -> np.ndarray:
    """Waveform [n] with each piece added at its start sample; what hangs over the end is cut."""
    out = np.zeros(n)
    for piece, start in zip(pieces, starts, strict=True):
        stop = min(n, int(start) + len(piece))
        out[int(start) : stop] += piece[: max(0, stop - int(start))]
    return out


def beats(rng: np.random.Generator, seconds: float, per_second: float, jitter: float = 0.04, room: float = 0.1) -> np.ndarray:
    """Onset times in s of a regular train of at least two hits; the last hit leaves `room` s before the end."""
    count = max(2, int(np.floor((seconds - room) * per_second)) + 1)
    period = 1 / per_second if (count - 1) / per_second <= seconds - 0.03 else (seconds - 0.06) / (count - 1)
    times = np.arange(count) * period
    return np.clip(times + rng.normal(0, jitter * period, count) * (times > 0), 0, seconds - 0.03)


def modes(rng: np.random.Generator, n: int, rate: int, frequencies: np.ndarray, amplitudes: np.ndarray, decays: np.ndarray) -> np.ndarray:
    """Sum of exponentially decaying sines [n]; modes above 0.45 of the sample rate are left out."""
    keep = frequencies < 0.45 * rate
    t = np.arange(n)[None, :] / rate
    f, a, d = (np.asarray(v, float)[keep][:, None] for v in (frequencies, amplitudes, decays))
    phases = rng.uniform(0, 2 * np.pi, (len(f), 1))
    return (a * np.exp(-t / d) * np.sin(2 * np.pi * f * t + phases)).sum(0)
