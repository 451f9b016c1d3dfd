"""Attributes change the sound in the direction that the captions say, for every class they apply to."""

import numpy as np
import pytest
from scipy.signal import find_peaks

from audiojax.data.soundworld import classes, render, synthesis
from audiojax.data.soundworld.classes import BY_NAME, CLASSES
from audiojax.data.soundworld.listening import example
from audiojax.data.soundworld.scenes import Event, Scene

RATE = 16_000


def having(attribute: str) -> list[str]:
    return [row.name for row in CLASSES if attribute in row.attributes]


def events(name: str, seconds: float, seeds: int = 3, **attributes: str) -> list[np.ndarray]:
    row = BY_NAME[name]
    seconds = row.unit if row.kind == "single" else seconds
    return [synthesis.event(np.random.default_rng(seed), RATE, row, seconds, 1, attributes) for seed in range(seeds)]


def centroid(wave: np.ndarray) -> float:
    """Power-weighted mean frequency in Hz."""
    power = np.abs(np.fft.rfft(wave.astype(float))) ** 2
    return float((np.fft.rfftfreq(len(wave), 1 / RATE) * power).sum() / power.sum())


def level(wave: np.ndarray) -> np.ndarray:
    """RMS of 10 ms blocks."""
    return np.sqrt((wave[: len(wave) // 160 * 160].reshape(-1, 160).astype(float) ** 2).mean(1))


def test_every_class_sounds():
    for row in CLASSES:
        (wave,) = events(row.name, 1.5, seeds=1)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()
        assert level(wave).max() > 0.5


@pytest.mark.parametrize("name", having("brightness"))
def test_brightness_moves_the_centroid(name):
    dull, plain, bright = (
        np.mean([centroid(w) for w in events(name, 1.2, **a)]) for a in ({"brightness": "dull"}, {}, {"brightness": "bright"})
    )
    assert dull < 0.93 * plain
    assert bright > 1.07 * plain


@pytest.mark.parametrize("name", sorted(set(having("pitch")) - {"hammer"}))
def test_pitch_shifts_the_spectrum_up_in_frequency(name):
    """The mean of log frequency, weighted by the compressed spectrum below 8 kHz, rises from low over plain to high."""

    def height(wave):
        magnitude = np.abs(np.fft.rfft(wave.astype(float))) ** 0.7
        f = np.fft.rfftfreq(len(wave), 1 / RATE)
        keep = (f > 40) & (f < 7800)
        return np.exp((np.log(f[keep]) * magnitude[keep] / f[keep]).sum() / (magnitude[keep] / f[keep]).sum())

    low, plain, high = (np.mean([height(w) for w in events(name, 1.2, **a)]) for a in ({"pitch": "low"}, {}, {"pitch": "high"}))
    assert low < 0.97 * plain, (low, plain, high)
    assert high > 1.03 * plain, (low, plain, high)


@pytest.mark.parametrize(
    ("name", "frequency"),
    [("car_horn", 400.0), ("violin", 330.0), ("alarm_beep", 1900.0), ("guitar_pluck", 196.0), ("owl", 380.0), ("hammer", 1850.0)],
)
def test_fundamentals_are_where_they_should_be(name, frequency):
    for value, factor in (("low", 0.6), (None, 1.0), ("high", 1.65)):
        for wave in events(name, 1.2, **({"pitch": value} if value else {})):
            spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 16))
            f = np.fft.rfftfreq(1 << 16, 1 / RATE)
            near = (f > 0.88 * factor * frequency) & (f < 1.12 * factor * frequency)
            assert spectrum[near].max() > 5 * np.median(spectrum[f < 4000])


@pytest.mark.parametrize("name", having("rate"))
def test_rate_changes_the_number_of_hits(name):
    width = 9 if name == "crickets" else 3  # blocks; a cricket's trill pulses by itself

    def hits(wave):
        curve = np.convolve(level(wave), np.hanning(width) / np.hanning(width).sum(), "same")
        curve = 20 * np.log10(curve + 0.01 * curve.max())
        return len(find_peaks(curve, prominence=5.0)[0])

    slow, fast = (np.mean([hits(wave) for wave in events(name, 3.0, rate=value)]) for value in ("slow", "fast"))
    assert fast > 1.8 * slow, (slow, fast)


@pytest.mark.parametrize("name", having("duration"))
def test_duration_is_heard(name):
    def lasting(value):
        scene = example(name, {"duration": value} if value else {})
        curve = level(render.render(scene))
        return np.ptp(np.flatnonzero(curve > 0.05 * curve.max())) / 100

    assert lasting("short") < 0.75 * lasting(None)
    assert lasting("long") > 1.5 * lasting(None)


@pytest.mark.parametrize("name", classes.names())
def test_distance_rings_on_and_loses_highs(name):
    percussive = (BY_NAME[name].kind == "train" or name == "gunshot") and name != "xylophone"

    def measure(value):
        """How much the room sounds, in dB, and the centroid in Hz. Between hits a room fills the gaps; after a tone it rings on."""
        scene = example(name, {"distance": value} if value else {})
        audio = render.render(scene).astype(float)
        end = round(scene.events[0].offset * RATE)
        curve = level(audio[: end + 4000])[15:]
        if percussive:
            return np.maximum(20 * np.log10(curve / curve.max()), -50).mean(), centroid(audio)
        return 10 * np.log10((audio[end + 800 : end + 4800] ** 2).mean() / (audio[:end] ** 2).mean()), centroid(audio)

    (dry, near), (room, plain), (wet, far) = (measure(value) for value in ("near", None, "far"))
    assert dry + 0.5 < room < wet - 1.5
    assert far < near or plain < 1_000  # low sounds have no highs to lose


@pytest.mark.parametrize("domain", ["studio", "field"])
def test_loudness_is_relative_to_the_other_event(domain):
    def ratio(value):
        def event(name, onset, marks):
            return Event(name, onset, onset + 1.0, 1, marks, 5)

        scene = Scene("x", 0, 9, 3.84, (event("siren", 0.2, {"loudness": value} if value else {}), event("rain", 2.4, {})), ((0,), (1,)))
        audio = render.render(scene, domain).astype(float)
        return 20 * np.log10(audio[5000:17000].std() / audio[40000:52000].std())

    assert ratio("quiet") + 7 < ratio(None) < ratio("loud") - 5
