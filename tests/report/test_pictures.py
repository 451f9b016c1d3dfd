"""Spectrogram pictures and players: what is loud is bright, in the right place, for every kind of sound."""

import base64
import io

import numpy as np
import pytest
import soundfile
from matplotlib import image

from audiojax.report.pictures import FLOOR_DB, log_mel_picture, spectrogram_png
from audiojax.report.players import audio_uri

RATE = 16_000


def tone(frequency: float, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)


def test_a_higher_tone_lies_higher_in_the_picture():
    rows = [log_mel_picture(tone(f), RATE)[:, 160].argmax() for f in (200, 800, 3200)]
    assert rows[0] > rows[1] > rows[2]


def test_a_late_sound_lies_on_the_right():
    waveform = np.concatenate([np.zeros(RATE), tone(1000)])
    energy = log_mel_picture(waveform, RATE).max(axis=0)
    assert (energy[:140] == -FLOOR_DB).all()
    assert (energy[180:300] > -6).all()


def test_scale_does_not_change_the_picture_and_int16_equals_float():
    waveform = tone(440)
    expected = log_mel_picture(waveform, RATE)
    np.testing.assert_allclose(log_mel_picture(0.1 * waveform, RATE), expected, atol=1e-3)
    np.testing.assert_allclose(log_mel_picture((waveform * 32768).astype(np.int16), RATE)[40:60], expected[40:60], atol=1.0)


@pytest.mark.parametrize("waveform", [np.zeros(0), np.zeros(10), np.zeros(RATE), np.full(RATE, np.nan)])
def test_silence_and_emptiness_are_dark(waveform):
    picture = log_mel_picture(waveform, RATE)
    assert picture.shape == (96, 320)
    assert (picture == -FLOOR_DB).all()


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_png_has_the_asked_size_at_any_rate(rate):
    noise = np.random.default_rng(0).standard_normal(rate) * 0.1
    pixels = image.imread(io.BytesIO(spectrogram_png(noise, rate, bands=64, columns=200)), format="png")
    assert pixels.shape[:2] == (64, 200)


def test_stereo_is_refused():
    with pytest.raises(ValueError, match="mono"):
        spectrogram_png(np.zeros((2, RATE)), RATE)


def decoded(uri: str) -> tuple[np.ndarray, int]:
    assert uri.startswith("data:audio/flac;base64,")
    return soundfile.read(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_player_holds_the_samples_themselves():
    waveform = tone(440).astype(np.float32)
    samples, rate = decoded(audio_uri(waveform, RATE))
    assert rate == RATE
    np.testing.assert_allclose(samples, waveform, atol=1e-4)


def test_player_turns_down_what_is_over_full_scale():
    samples, _ = decoded(audio_uri(3 * tone(440), RATE))
    np.testing.assert_allclose(samples, 2 * tone(440), atol=1e-3)
