"""Sound files into mono float32 at the rate a model wants, or into a named reason why not. Host only: NumPy, libsndfile, soxr, no jax.

Files are read, mixed down and resampled block by block, so a long file never lies in memory at its own rate. Decoding in this process
trusts the decoder; `audiojax.audio.pool` does the same in child processes, where a crash or a hang costs one file.
"""

import dataclasses
import functools
import importlib.util
import io
import os
import shutil
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from jaxtyping import Float

from audiojax.audio.headers import check_header, mp3_with_length
from audiojax.audio.reasons import AudioFileError, Reason

LOSSLESS = (".wav", ".flac", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64")
EXTENSIONS = (*LOSSLESS, ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".mp4", ".wma", ".webm", ".mka")
BLOCK_SECONDS = 4.0
SILENCE = 1e-5  # peak below -100 dBFS
MP3_LEAD = 20 * 1152  # samples decoded before the place sought: an MP3 frame leans on the bits of earlier ones
AV_SLACK = 0.25  # seconds by which containers round the lengths they announce
UNKNOWN_LENGTH = 2**62  # libsndfile reports at least this many samples when a format does not say


@dataclasses.dataclass(frozen=True)
class AudioLimits:
    """What a sensible sound file looks like. Anything outside is left out with its reason.

    Attributes:
      max_channels: most channels.
      min_sample_rate: lowest rate, Hz.
      max_sample_rate: highest rate, Hz.
      max_seconds: longest sound that `decode` takes; `stream` has no such limit. Longer ones are `too_long`.
      max_peak: largest sample value; float files may exceed 1, a damaged one holds anything.
    """

    max_channels: int = 32
    min_sample_rate: int = 1_000
    max_sample_rate: int = 384_000
    max_seconds: float = 900.0
    max_peak: float = 64.0


@dataclasses.dataclass(frozen=True)
class DecodeOptions:
    """How a file becomes a clip.

    Attributes:
      sample_rate: Hz to resample to (soxr, high quality); None keeps the file's.
      mono: "mean" of the channels, the first one ("left"), or "error": more than one is `not_mono`.
      start: seconds to skip.
      seconds: longest stretch to read from there; None reads to the end.
      limits: what is refused.
    """

    sample_rate: int | None = None
    mono: Literal["mean", "left", "error"] = "mean"
    start: float = 0.0
    seconds: float | None = None
    limits: AudioLimits = AudioLimits()


AS_IT_IS = DecodeOptions()


@dataclasses.dataclass(frozen=True)
class Clip:
    """A decoded sound.

    Attributes:
      samples: mono, float32; [-1, 1] but for the overshoots of float files and lossy codecs.
      sample_rate: Hz, of `samples`.
      file_rate: Hz, of the file.
      channels: of the file.
      silent: no sample reaches -100 dBFS.
    """

    samples: Float[np.ndarray, " n"]
    sample_rate: int
    file_rate: int
    channels: int
    silent: bool

    @property
    def seconds(self) -> float:
        """Duration of `samples`."""
        return len(self.samples) / self.sample_rate


def decode(path: str | Path, options: DecodeOptions = AS_IT_IS) -> Clip:
    """The file's sound under `options`.

    Raises:
      AudioFileError: with the named reason and the numbers behind it.
    """
    format_, blocks = open_blocks(path, options)
    limit = options.limits.max_seconds
    if options.seconds is None and format_.frames is not None and format_.frames / format_.rate - options.start > limit:
        raise AudioFileError(path, Reason.TOO_LONG, f"{format_.frames / format_.rate:.0f} s; at most {limit:g} s are read whole")
    pieces, heard = [], 0
    for block in blocks:
        pieces.append(block)
        heard += len(block)
        if heard > limit * format_.out_rate:
            raise AudioFileError(path, Reason.TOO_LONG, f"more than the {limit:g} s that are read whole")
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if len(samples) == 0:
        raise AudioFileError(path, Reason.EMPTY, "no samples in the stretch that was asked for" if options.start else "no samples")
    return Clip(samples, format_.out_rate, format_.rate, format_.channels, silent=_peak(samples) < SILENCE)


def stream(path: str | Path, options: DecodeOptions = AS_IT_IS) -> Iterator[Float[np.ndarray, " n"]]:
    """The file's sound in consecutive pieces of a few seconds, for sounds of any length; together they are what `decode` gives.

    Raises:
      AudioFileError: as soon as a fault is met, which may be after some pieces.
    """
    _, blocks = open_blocks(path, options)
    empty = True
    for block in blocks:
        empty = empty and len(block) == 0
        yield block
    if empty:
        raise AudioFileError(path, Reason.EMPTY, "no samples")


def to_mono(frames: Float[np.ndarray, "n channels"], policy: Literal["mean", "left", "error"]) -> Float[np.ndarray, " n"]:
    """One channel from many under the policy of `DecodeOptions`.

    Raises:
      ValueError: the policy is "error" and there is more than one channel.
    """
    if frames.shape[1] == 1 or policy == "left":
        return np.ascontiguousarray(frames[:, 0])
    if policy == "error":
        raise ValueError(f"{frames.shape[1]} channels")
    return frames.mean(axis=1, dtype=np.float32)


def resample(clip: Float[np.ndarray, " n"], rate: int, to_rate: int) -> Float[np.ndarray, " m"]:
    """The clip at another rate (soxr, high quality), float32; unchanged when the rates agree."""
    if rate == to_rate:
        return clip.astype(np.float32, copy=False)
    return soxr.resample(clip.astype(np.float32, copy=False), rate, to_rate, quality="HQ")


@dataclasses.dataclass(frozen=True)
class Format:
    """A file's rate in Hz, channels, announced length in samples (None: it does not say), and the rate wanted."""

    rate: int
    channels: int
    frames: int | None
    out_rate: int


def open_blocks(path: str | Path, options: DecodeOptions) -> tuple[Format, Iterator[np.ndarray]]:
    """(format, samples in consecutive pieces of a few seconds): `stream` for those who also want to know the file's rate.

    Raises:
      AudioFileError: now for a fault of the header, later, from the iterator, for one in the samples. A sound without samples is no error.
    """
    path = _regular_file(path)
    check_header(path)
    source = _decoder(path, options)
    rate, channels, frames = next(source)
    limits = options.limits
    if channels < 1:
        raise AudioFileError(path, Reason.NO_CHANNELS, f"{channels} channels")
    if channels > limits.max_channels:
        raise AudioFileError(path, Reason.TOO_MANY_CHANNELS, f"{channels} channels; at most {limits.max_channels} are read")
    if not limits.min_sample_rate <= rate <= limits.max_sample_rate:
        allowed = f"{limits.min_sample_rate} to {limits.max_sample_rate} Hz are read"
        raise AudioFileError(path, Reason.SAMPLE_RATE_OUT_OF_RANGE, f"{rate} Hz; {allowed}")
    if channels > 1 and options.mono == "error":
        raise AudioFileError(path, Reason.NOT_MONO, f"{channels} channels")
    format_ = Format(rate, channels, frames, options.sample_rate or rate)
    return format_, _resampled(_mono_blocks(path, source, options), format_)


def _regular_file(path: str | Path) -> Path:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise AudioFileError(path, Reason.MISSING, "no such file") from None
    except (OSError, ValueError) as error:  # too long a name, a loop of links, a NUL in it
        raise AudioFileError(path, Reason.UNREADABLE, str(error)) from None
    if not stat.S_ISREG(mode):
        raise AudioFileError(path, Reason.NOT_A_FILE, "a folder" if stat.S_ISDIR(mode) else "neither file nor folder")
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise AudioFileError(path, Reason.EMPTY, "0 bytes")
    except OSError as error:
        raise AudioFileError(path, Reason.UNREADABLE, error.strerror or str(error)) from None
    return Path(path)


def _mono_blocks(path: Path, source: Iterator[np.ndarray], options: DecodeOptions) -> Iterator[np.ndarray]:
    for frames in source:  # [n, channels]
        peak = _peak(frames)
        if not np.isfinite(peak):
            raise AudioFileError(path, Reason.NOT_FINITE, f"{np.count_nonzero(~np.isfinite(frames))} NaN or infinite values in a block")
        if peak > options.limits.max_peak:
            raise AudioFileError(path, Reason.LEVEL_OUT_OF_RANGE, f"a sample of {peak:.3g}; full scale is 1")
        yield to_mono(frames, options.mono)


def _peak(samples: np.ndarray) -> float:
    """The largest absolute value, not finite where one of them is not; without the copies that `abs` and `isfinite` make."""
    return float(max(-samples.min(initial=0.0), samples.max(initial=0.0)))


def _resampled(blocks: Iterator[np.ndarray], format_: Format) -> Iterator[np.ndarray]:
    if format_.rate == format_.out_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(format_.rate, format_.out_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _decoder(path: Path, options: DecodeOptions) -> Iterator:
    """First (rate, channels, announced samples or None), then blocks of frames [n, channels] in float32."""
    try:
        file = _Forward(os.fsencode(path))  # soundfile takes names that are not UTF-8 as bytes only
    except soundfile.LibsndfileError as error:
        other = second_decoder()
        if other is None:
            missing = "" if importlib.util.find_spec("av") else "; for m4a and the like: pip install 'audiojax[m4a]'"
            raise AudioFileError(path, Reason.UNDECODABLE, f"{error.error_string}{missing}") from None
        yield from (_decode_with_av if other == "av" else _decode_with_librosa)(path, options)
        return
    if file.format == "MP3" and (whole := mp3_with_length(path.read_bytes(), file.frames)) is not None:
        file.close()
        file = _Forward(io.BytesIO(whole))
    with file:
        yield from _decode_with_libsndfile(path, file, options)


class _Forward(soundfile.SoundFile):
    """A file that is read on without seeking. `soundfile` seeks to where it already is after each read; the MP3 decoder then forgets the
    bits that the next frame leans on, and every block starts with wrong samples."""

    def seekable(self) -> bool:
        return False


def _decode_with_libsndfile(path: Path, file: soundfile.SoundFile, options: DecodeOptions) -> Iterator:
    rate, announced = file.samplerate, file.frames
    yield rate, file.channels, announced if announced < UNKNOWN_LENGTH else None
    first = min(round(options.start * rate), announced)
    wanted = announced - first if options.seconds is None else min(announced - first, round(options.seconds * rate))
    read = 0
    block = max(1, round(BLOCK_SECONDS * rate))
    try:
        if first:
            lead = min(first, MP3_LEAD) if file.format == "MP3" else 0
            file.seek(first - lead)
            file.read(lead, dtype="float32")
        while read < wanted:
            frames = file.read(min(block, wanted - read), dtype="float32", always_2d=True)
            if len(frames) == 0:
                break
            read += len(frames)
            yield frames
    except soundfile.LibsndfileError as error:
        detail = f"decoding stops after sample {first + read} of {announced}: {error.error_string}"
        raise AudioFileError(path, Reason.TRUNCATED, detail) from None
    if read < wanted and announced < UNKNOWN_LENGTH:
        raise AudioFileError(path, Reason.TRUNCATED, f"{first + read} of {announced} samples are there")


@functools.cache
def second_decoder() -> Literal["av", "librosa"] | None:
    """What reads the files that libsndfile refuses: PyAV where it is installed, else librosa where it would find ffmpeg or Core Audio."""
    if importlib.util.find_spec("av"):
        return "av"
    return "librosa" if shutil.which("ffmpeg") or sys.platform == "darwin" else None


def warm_up() -> None:
    """Imports the second decoder now, so that its import is no part of any file's time."""
    other = second_decoder()
    if other is not None:
        __import__(other)


def _decode_with_av(path: Path, options: DecodeOptions) -> Iterator:
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise AudioFileError(path, Reason.UNDECODABLE, "no audio stream")
            track = container.streams.audio[0]
            seconds = float(track.duration * track.time_base) if track.duration else (container.duration or 0) / av.time_base
            told = seconds > 0 and container.format.name not in ("aac", "mp3")  # of bare frames it is guessed from the bit rate
            yield track.rate or 0, track.channels or 0, round(seconds * track.rate) if told else None
            resampler, heard = av.AudioResampler(format="fltp"), 0

            def blocks() -> Iterator[np.ndarray]:
                nonlocal heard
                for frame in container.decode(track):
                    for out in resampler.resample(frame):
                        heard += out.samples
                        yield out.to_ndarray().T.astype(np.float32, copy=False)

            yield from _stretch(blocks(), track.rate, options)
            if told and options.seconds is None and heard < (seconds - AV_SLACK) * track.rate:
                raise AudioFileError(path, Reason.TRUNCATED, f"{heard / track.rate:.2f} of {seconds:.2f} s are there")
    except (av.error.FFmpegError, ValueError) as error:
        raise AudioFileError(path, Reason.UNDECODABLE, str(error)) from None


def _decode_with_librosa(path: Path, options: DecodeOptions) -> Iterator:
    import librosa

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            samples, rate = librosa.load(path, sr=None, mono=False, offset=options.start, duration=options.seconds)
    except Exception as error:  # the back ends of librosa share no base class
        raise AudioFileError(path, Reason.UNDECODABLE, str(error) or type(error).__name__) from None
    frames = np.atleast_2d(samples).T
    yield int(rate), frames.shape[1], len(frames)
    yield frames


def _stretch(blocks: Iterator[np.ndarray], rate: int, options: DecodeOptions) -> Iterator[np.ndarray]:
    """The part of the sound that `start` and `seconds` name, from blocks of all of it."""
    skip = round(options.start * rate)
    left = None if options.seconds is None else round(options.seconds * rate)
    for block in blocks:
        cut = min(skip, len(block))
        skip, block = skip - cut, block[cut:]
        if left is not None:
            block = block[:left]
            left -= len(block)
        if len(block):
            yield block
        if left == 0:
            return
