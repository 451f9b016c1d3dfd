"""Decoding: every readable format, every named reason, partial reads, mono and resampling."""

import dataclasses
import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from audiojax.audio import io
from audiojax.audio.io import AudioLimits, DecodeOptions, decode, resample, stream, to_mono
from audiojax.audio.reasons import AudioFileError, BadAudio, Reason, ReasonCounter

FORMATS = [("WAV", "wav"), ("FLAC", "flac"), ("OGG", "ogg"), ("MP3", "mp3"), ("AIFF", "aiff"), ("AU", "au"), ("CAF", "caf")]


def sine(seconds=1.0, rate=16_000, hertz=440.0, level=0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def wav_bytes(samples: bytes, *, channels=1, rate=16_000, bits=16, announced=None) -> bytes:
    """A WAV file with whatever header is asked for."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) & 0xFFFFFFFF, block, bits)
    data = b"data" + struct.pack("<I", len(samples) if announced is None else announced) + samples
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def reason_of(path, options=io.AS_IT_IS) -> BadAudio:
    with pytest.raises(AudioFileError) as caught:
        decode(path, options)
    return caught.value.bad


@pytest.mark.parametrize(("container", "extension"), FORMATS)
def test_reads_every_common_format(tmp_path, container, extension):
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, sine(), 16_000, format=container)
    clip = decode(path)
    assert (clip.sample_rate, clip.file_rate, clip.channels, clip.silent) == (16_000, 16_000, 1, False)
    assert clip.samples.dtype == np.float32
    assert len(clip.samples) == 16_000
    np.testing.assert_allclose(clip.samples[4000:12_000], sine()[4000:12_000], atol=0.02)


def test_resamples_and_mixes_down(tmp_path):
    path = tmp_path / "a.wav"
    left, right = sine(rate=44_100), sine(rate=44_100, hertz=880.0)
    soundfile.write(path, np.stack([left, right], axis=1), 44_100, subtype="FLOAT")
    mean = decode(path, DecodeOptions(sample_rate=16_000))
    assert (mean.channels, mean.file_rate, mean.sample_rate, mean.seconds) == (2, 44_100, 16_000, 1.0)
    np.testing.assert_allclose(mean.samples[500:-500], ((sine() + sine(hertz=880.0)) / 2)[500:-500], atol=1e-3)
    first = decode(path, DecodeOptions(sample_rate=16_000, mono="left"))
    np.testing.assert_allclose(first.samples[500:-500], sine()[500:-500], atol=1e-3)
    assert reason_of(path, DecodeOptions(mono="error")).reason is Reason.NOT_MONO


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg"])
def test_partial_reads_equal_a_slice(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, sine(3.0) * np.linspace(0.1, 1, 48_000, dtype=np.float32), 16_000)
    whole = decode(path).samples
    part = decode(path, DecodeOptions(start=1.0, seconds=0.5)).samples
    np.testing.assert_allclose(part, whole[16_000:24_000], atol=1e-4)
    np.testing.assert_allclose(decode(path, DecodeOptions(start=2.5, seconds=9)).samples, whole[40_000:], atol=1e-4)
    assert reason_of(path, DecodeOptions(start=5.0)).reason is Reason.EMPTY


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg"])
def test_reading_in_blocks_equals_reading_at_once(tmp_path, extension, monkeypatch):
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, sine(3.0) * np.linspace(0.1, 1, 48_000, dtype=np.float32), 16_000)
    monkeypatch.setattr(io, "BLOCK_SECONDS", 0.1)
    np.testing.assert_allclose(decode(path).samples, soundfile.read(path, dtype="float32")[0], atol=1e-6)


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg"])
def test_a_name_need_not_be_utf_8(tmp_path, extension):
    plain, odd = tmp_path / f"a.{extension}", os.fsencode(tmp_path) + b"/T\xfcrklingel." + extension.encode()
    soundfile.write(plain, sine(), 16_000)
    os.rename(plain, odd)
    assert decode(os.fsdecode(odd)).seconds == 1.0


@pytest.mark.parametrize("rate", [None, 8000, 32_000])
def test_stream_gives_what_decode_gives(tmp_path, rate):
    path = tmp_path / "a.flac"
    soundfile.write(path, sine(11.3), 16_000)
    options = DecodeOptions(sample_rate=rate)
    pieces = list(stream(path, options))
    assert len(pieces) > 2
    np.testing.assert_array_equal(np.concatenate(pieces), decode(path, options).samples)


def test_streamed_resampling_equals_resampling_at_once(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(9.0, rate=22_050), 22_050, subtype="FLOAT")
    np.testing.assert_allclose(
        decode(path, DecodeOptions(sample_rate=16_000)).samples, resample(sine(9.0, rate=22_050), 22_050, 16_000), atol=1e-6
    )


def test_decode_does_not_depend_on_the_call(tmp_path):
    path = tmp_path / "a.ogg"
    soundfile.write(path, sine(2.0), 16_000)
    options = DecodeOptions(sample_rate=11_025)
    np.testing.assert_array_equal(decode(path, options).samples, decode(path, options).samples)


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (b"", Reason.EMPTY, "0 bytes"),
        (wav_bytes(b""), Reason.EMPTY, "no samples"),
        (b"this is no sound at all, whatever its name says", Reason.UNDECODABLE, "recognised"),
        (wav_bytes(bytes(1000), announced=4000), Reason.TRUNCATED, "1000 of 4000 bytes"),
        (wav_bytes(bytes(1000), channels=0), Reason.NO_CHANNELS, "0 channels"),
        (wav_bytes(bytes(96 * 2 * 100), channels=96), Reason.TOO_MANY_CHANNELS, "96 channels"),
        (wav_bytes(bytes(1000), rate=1), Reason.SAMPLE_RATE_OUT_OF_RANGE, "1 Hz"),
        (wav_bytes(bytes(1000), rate=768_000), Reason.SAMPLE_RATE_OUT_OF_RANGE, "768000 Hz"),
        (wav_bytes(bytes(2 * 1000 * 901), rate=1000), Reason.TOO_LONG, "901 s"),
    ],
)
def test_bad_bytes_are_named(tmp_path, content, reason, words):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    bad = reason_of(path)
    assert bad.reason is reason
    assert words in bad.detail
    assert bad.path == str(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(tmp_path, value):
    samples = sine()
    samples[12_345] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    assert reason_of(tmp_path / "a.wav").reason is Reason.NOT_FINITE


def test_absurd_levels_are_named_and_overshoots_are_kept(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(level=1e9), 16_000, subtype="FLOAT")
    assert reason_of(tmp_path / "a.wav").reason is Reason.LEVEL_OUT_OF_RANGE
    soundfile.write(tmp_path / "b.wav", sine(level=1.5), 16_000, subtype="FLOAT")
    assert decode(tmp_path / "b.wav").samples.max() == pytest.approx(1.5, abs=1e-3)


def test_silence_is_a_flag_and_not_an_error(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16_000)
    assert decode(tmp_path / "a.wav").silent


def test_missing_folder_pipe_and_forbidden_names(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    assert reason_of(tmp_path / "no.wav").reason is Reason.MISSING
    assert reason_of(tmp_path).reason is Reason.NOT_A_FILE
    assert reason_of(tmp_path / "pipe.wav").reason is Reason.NOT_A_FILE
    assert reason_of(tmp_path / "loop.wav").reason is Reason.UNREADABLE
    assert reason_of("a\0.wav").reason is Reason.UNREADABLE


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "opus", "mp3", "aiff"])
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_a_cut_file_is_truncated_and_never_a_shorter_sound(tmp_path, extension, share):
    whole, cut = tmp_path / f"a.{extension}", tmp_path / f"b.{extension}"
    soundfile.write(
        whole, sine(2.0), 16_000, format="OGG" if extension == "opus" else None, subtype="OPUS" if extension == "opus" else None
    )
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    assert reason_of(cut).reason is Reason.TRUNCATED


@pytest.mark.parametrize("damage", ["flip", "drop", "insert"])
def test_an_ogg_that_would_lose_a_page_in_silence_is_named(tmp_path, damage):
    path = tmp_path / "a.ogg"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 160_000), 16_000)
    data = bytearray(path.read_bytes())
    pages = [place for place in range(len(data)) if data[place : place + 4] == b"OggS"]
    assert len(pages) > 5
    if damage == "flip":
        data[pages[4] + 500] ^= 1
    elif damage == "drop":
        del data[pages[3] : pages[4]]
    else:
        data[pages[3] : pages[3]] = bytes(10)
    path.write_bytes(data)
    assert reason_of(path).reason is Reason.DAMAGED


def test_a_wav_that_was_streamed_has_no_length_to_fall_short_of(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(bytes(2000), announced=0xFFFF_FFFF))
    assert len(decode(tmp_path / "a.wav").samples) == 1000


@pytest.mark.parametrize("tag", [b"", bytes(1000), b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)])
def test_an_mp3_without_its_length_is_read_to_the_end(tmp_path, tag):
    path = tmp_path / "a.mp3"
    rng = np.random.default_rng(0)
    loud = np.repeat([0.001, 0.3] * 4, 16_000) * rng.standard_normal(128_000)
    soundfile.write(path, loud.clip(-1, 1), 16_000, bitrate_mode="VARIABLE")
    content = path.read_bytes()
    assert b"Xing" in content[:64]
    second = content.find(content[:2], 4)
    (tmp_path / "b.mp3").write_bytes(tag + content[second:])
    assert abs(len(decode(tmp_path / "b.mp3").samples) - 128_000) < 4 * 1152


@pytest.mark.parametrize(("extension", "codec"), [("m4a", "aac"), ("webm", "libopus")])
def test_av_reads_what_libsndfile_does_not(tmp_path, extension, codec):
    av = pytest.importorskip("av", reason="needs the m4a extra")
    path = tmp_path / f"a.{extension}"
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=48_000)
        track.layout = "stereo"
        for place in range(0, 96_000, 4800):
            frame = av.AudioFrame.from_ndarray(np.stack([sine(2.0, 48_000)[place : place + 4800]] * 2), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 48_000, place
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    clip = decode(path, DecodeOptions(sample_rate=16_000))
    assert (clip.channels, clip.file_rate) == (2, 48_000)
    assert clip.seconds == pytest.approx(2.0, abs=0.05)
    assert np.sqrt(np.mean(clip.samples[1000:-1000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    part = decode(path, DecodeOptions(sample_rate=16_000, start=0.5, seconds=0.5)).samples
    np.testing.assert_allclose(part[300:-300], clip.samples[8300:15_700], atol=1e-4)
    path.write_bytes(path.read_bytes()[:-6000])
    assert reason_of(path).reason in (Reason.TRUNCATED, Reason.UNDECODABLE)


def test_limits_are_arguments(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(2.0), 16_000)
    tight = DecodeOptions(limits=AudioLimits(max_seconds=1.0))
    assert reason_of(tmp_path / "a.wav", tight).reason is Reason.TOO_LONG
    assert decode(tmp_path / "a.wav", dataclasses.replace(tight, seconds=0.5)).seconds == 0.5
    assert sum(map(len, stream(tmp_path / "a.wav", tight))) == 32_000


def test_to_mono_policies():
    frames = np.array([[1.0, 0.0], [0.5, -0.5]], np.float32)
    np.testing.assert_array_equal(to_mono(frames, "mean"), [0.5, 0.0])
    np.testing.assert_array_equal(to_mono(frames, "left"), [1.0, 0.5])
    with pytest.raises(ValueError, match="2 channels"):
        to_mono(frames, "error")


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(AudioFileError("a.wav", Reason.EMPTY, "0\nbytes")))
    assert (error.bad, str(error)) == (BadAudio("a.wav", Reason.EMPTY, "0 bytes"), "a.wav: empty (0 bytes)")


def test_reasons_can_be_printed_whatever_the_file_is_called():
    path = os.fsdecode(b"T\xfcr.wav")
    counter = ReasonCounter()
    counter.add(BadAudio(path, Reason.EMPTY, "0 bytes"))
    assert str(AudioFileError(path, Reason.EMPTY, "0 bytes")) == "T\\xfcr.wav: empty (0 bytes)"
    assert list(counter.lines()) == ["     1  empty", "        T\\xfcr.wav: 0 bytes"]
    assert counter.skipped() == {path: "empty (0 bytes)"}


def test_counter_tells_how_many_and_which():
    counter = ReasonCounter()
    for result in ["clip", BadAudio("b", Reason.EMPTY), BadAudio("c", Reason.TRUNCATED, "1 of 2"), "clip", BadAudio("a", Reason.TRUNCATED)]:
        counter.add(result)
    assert counter.summary() == "2 files used, 3 left out: truncated 2, empty 1"
    assert counter.skipped() == {"b": "empty", "c": "truncated (1 of 2)", "a": "truncated"}
    assert list(counter.lines(files_per_reason=1)) == [
        "     2  truncated",
        "        c: 1 of 2",
        "        and 1 more",
        "     1  empty",
        "        b",
    ]
    assert ReasonCounter(used=1).summary() == "1 files used, 0 left out"


def test_the_host_side_does_not_import_jax():
    code = "import sys, audiojax.audio.pool, audiojax.audio.lengths; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
