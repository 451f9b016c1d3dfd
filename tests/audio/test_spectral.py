"""Log-mel against librosa, a literal Kaldi formula, and numbers that follow from the conventions."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from audiojax.audio import spectral
from audiojax.audio.spectral import MelConfig

STFT_PRESETS = ["panns_32k", "panns_16k", "clap_48k", "clap_48k_fused", "audioldm_16k", "soundworld_16k"]
pytestmark = pytest.mark.usefixtures("strict_dtypes")
log_mel = jax.jit(spectral.log_mel, static_argnums=1)  # one program a config and shape, where op by op is dozens


@pytest.fixture(scope="module")
def golden():
    """A sound [8000] and its log-mels by librosa; made by tests/golden/make_log_mel.py."""
    with np.load(Path(__file__).parents[1] / "golden" / "log_mel.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def waveform(golden):
    """The sound and the same one backwards [2, 8000]."""
    return np.stack([golden["waveform"], golden["waveform"][::-1]])


def kaldi_fbank(clip: np.ndarray, window_type: str, *, bands=128, low=20.0, high=8000.0, rate=16_000) -> np.ndarray:
    """Kaldi's fbank with dither 0, written out frame by frame and bin by bin, in float64."""
    length, shift, size = 400, 160, 512
    mel_low, mel_high = (1127 * np.log(1 + f / 700) for f in (low, high))
    step = (mel_high - mel_low) / (bands + 1)
    weights = np.zeros((bands, size // 2 + 1))
    for band in range(bands):
        left, center, right = (mel_low + (band + k) * step for k in range(3))
        for k in range(size // 2):
            mel = 1127 * np.log(1 + k * rate / size / 700)
            if left < mel < right:
                weights[band, k] = (mel - left) / (center - left) if mel <= center else (right - mel) / (right - center)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))
    window = hann**0.85 if window_type == "povey" else hann
    rows = []
    for start in range(0, len(clip) - length + 1, shift):
        frame = clip[start : start + length].astype(np.float64)
        frame = frame - frame.mean()
        emphasised = frame.copy()
        for i in range(1, length):
            emphasised[i] = frame[i] - 0.97 * frame[i - 1]
        emphasised[0] = frame[0] - 0.97 * frame[0]
        power = np.abs(np.fft.rfft(np.concatenate([emphasised * window, np.zeros(size - length)]))) ** 2
        rows.append(np.log(np.maximum(weights @ power, 1.1920928955078125e-07)))
    return np.array(rows)


@pytest.mark.parametrize("name", STFT_PRESETS)
def test_equals_librosa(golden, name):
    config = spectral.PRESETS[name]
    ours, reference = np.asarray(log_mel(jnp.asarray(golden["waveform"])[None], config))[0], golden[name]
    assert ours.shape == reference.shape
    assert ours.dtype == np.float32
    tolerance = 1e-3 if config.log == "db" else 1e-4  # in dB as the DiffATR note asks (check 14)
    np.testing.assert_allclose(ours, reference, atol=tolerance, rtol=0)
    assert np.linalg.norm(ours - reference) / np.linalg.norm(reference) < 1e-5


@pytest.mark.slow  # compiles librosa's kernels on first use
@pytest.mark.parametrize("name", STFT_PRESETS)
def test_the_stored_reference_is_librosas(golden, name):
    from tests.golden.make_log_mel import librosa_log_mel

    np.testing.assert_allclose(golden[name], librosa_log_mel(golden["waveform"], spectral.PRESETS[name]), atol=1e-4)


def test_audiomae_equals_the_kaldi_formula(waveform):
    ours = np.asarray(log_mel(jnp.asarray(waveform), spectral.AUDIOMAE))
    assert ours.shape == (2, 1024, 128)
    for row, clip in zip(ours, waveform, strict=True):
        reference = kaldi_fbank(clip - clip.mean(dtype=np.float64), "hanning")
        normalised = (reference + 4.2677393) / (4.5689974 * 2)
        np.testing.assert_allclose(row[: len(reference)], normalised, atol=1e-4, rtol=0)
        np.testing.assert_allclose(row[len(reference) :], 0.46703, atol=1e-5)  # zeros before normalisation: note, check 7


def test_beats_equals_the_kaldi_formula(waveform):
    ours = np.asarray(log_mel(jnp.asarray(waveform), spectral.BEATS))
    for row, clip in zip(ours, waveform, strict=True):
        reference = (kaldi_fbank(clip * 2.0**15, "povey") - 15.41663) / (2 * 6.55582)
        np.testing.assert_allclose(row, reference, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
def test_beats_equals_an_independent_implementation(waveform):
    bank = mel_filter_bank(257, 128, 20, 8000, 16_000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True)
    window = window_function(400, "povey", periodic=False)
    reference = spectrogram(
        waveform[0] * np.float32(2**15),
        window,
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=bank,
        log_mel="log",
        mel_floor=1.1920929e-07,
        remove_dc_offset=True,
        dtype=np.float64,
    ).T
    ours = np.asarray(log_mel(jnp.asarray(waveform[:1]), spectral.BEATS))[0]
    np.testing.assert_allclose(ours, (reference - 15.41663) / (2 * 6.55582), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("panns_32k", -100.0),
        ("panns_16k", -100.0),
        ("clap_48k", -100.0),
        ("clap_48k_fused", -100.0),
        ("audioldm_16k", -11.512925),
        ("soundworld_16k", -100.0),
        ("audiomae", (-15.942385 + 4.2677393) / (2 * 4.5689974)),
        ("beats", (-15.942385 - 15.41663) / (2 * 6.55582)),
    ],
)
def test_silence_has_the_level_of_the_floor(name, level):
    config = dataclasses.replace(spectral.PRESETS[name], frames=None)
    mel = np.asarray(log_mel(jnp.zeros((1, 2000), jnp.float32), config))
    np.testing.assert_allclose(mel, level, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "samples", "frames"),
    [
        ("panns_32k", 320_000, 1001),
        ("clap_48k", 480_000, 1001),
        ("beats", 160_000, 998),
        ("audiomae", 163_840, 1022),
        ("audioldm_16k", 163_840, 1024),
        ("audioldm_16k", 61_440, 384),
        ("soundworld_16k", 61_440, 384),
        ("panns_16k", 160_000, 1001),
    ],
)
def test_published_frame_counts(name, samples, frames):
    assert spectral.PRESETS[name].frame_count(samples) == frames


@pytest.mark.parametrize("padding", ["center", "same", "snip"])
@pytest.mark.parametrize("hop", [32, 50, 64])
@pytest.mark.parametrize("samples", [129, 160, 191, 192, 193, 1000])
def test_frame_count_contract(padding, hop, samples):
    config = MelConfig(sample_rate=8000, n_fft=128, win_length=128, hop=hop, n_mels=8, f_min=0, f_max=4000, padding=padding)
    shape = jax.eval_shape(lambda x: log_mel(x, config), jnp.zeros((3, samples), jnp.float32)).shape
    expected = {"center": samples // hop + 1, "same": samples // hop, "snip": 1 + (samples - 128) // hop}[padding]
    assert shape == (3, expected, 8)
    assert config.frame_count(samples) == expected


@pytest.mark.parametrize("name", ["panns_32k", "audioldm_16k", "audiomae", "beats"])  # one of each kind of frame
def test_matrix_form_equals_fft_form(waveform, name):
    config = spectral.PRESETS[name]
    forms = [partial(spectral._clip_log_mel, config=config, spectrum=form) for form in (spectral._power_by_matmul, spectral._power_by_fft)]
    matmul, fft = jax.jit(lambda clip: [form(clip) for form in forms])(jnp.asarray(waveform[0]))
    np.testing.assert_allclose(matmul, fft, atol=1e-2 if config.log == "db" else 1e-3, rtol=0)
    assert np.linalg.norm(matmul - fft) / np.linalg.norm(fft) < 1e-5


@pytest.mark.parametrize(("platform", "has_fft", "has_loop"), [("cpu", True, True), ("tpu", False, False), ("cuda", True, False)])
def test_each_platform_gets_its_form(platform, has_fft, has_loop):
    clips = jax.ShapeDtypeStruct((2, 4000), jnp.float32)
    program = log_mel.trace(clips, spectral.SOUNDWORLD_16K).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.fft" in program, "stablehlo.while" in program) == (has_fft, has_loop)


def test_a_short_window_sits_in_the_middle_of_the_frame(waveform):
    config = dataclasses.replace(spectral.PANNS_16K, win_length=400)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.pad(waveform[0].astype(np.float64), 256, mode="reflect")
    power = np.abs(np.fft.rfft(padded[3 * 160 + 56 : 3 * 160 + 456] * hann, 512)) ** 2  # frame 3
    expected = 10 * np.log10(power @ spectral.filter_bank(config))
    np.testing.assert_allclose(log_mel(jnp.asarray(waveform[:1]), config)[0, 3], expected, atol=1e-3)


def test_jit_and_batch_composition_change_nothing(waveform):
    batch = jnp.asarray(waveform)
    whole = log_mel(batch, spectral.SOUNDWORLD_16K)
    np.testing.assert_allclose(whole, spectral.log_mel(batch, spectral.SOUNDWORLD_16K), atol=1e-4)
    np.testing.assert_array_equal(log_mel(batch[1:], spectral.SOUNDWORLD_16K)[0], log_mel(batch, spectral.SOUNDWORLD_16K)[1])


@pytest.mark.parametrize("name", ["audioldm_16k", "beats"])
def test_gradient_is_finite_at_silence(name):
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(log_mel(x, spectral.PRESETS[name]))))(jnp.zeros((1, 4000), jnp.float32))
    assert np.isfinite(gradient).all()


def test_int16_round_trip_quantises():
    config = dataclasses.replace(spectral.CLAP_48K, int16_round_trip=True)
    quiet = jnp.full((1, 4800), 0.9 / 32767, jnp.float32)  # below one step: truncated to silence
    np.testing.assert_allclose(log_mel(quiet, config), -100.0)
    assert np.max(log_mel(quiet, spectral.CLAP_48K)) > -100.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"f_max": 9000}, "f_max"),
        ({"win_length": 1024}, "win_length"),
        ({"padding": "same", "hop": 161}, "even"),
        ({"power": 3}, "power"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(spectral.PANNS_16K, **change)


@pytest.mark.parametrize("name", ["panns_16k", "audioldm_16k", "beats"])
def test_a_clip_that_is_too_short_is_refused_with_its_length(name):
    with pytest.raises(ValueError, match="100 samples"):
        log_mel(jnp.zeros((1, 100), jnp.float32), spectral.PRESETS[name])
