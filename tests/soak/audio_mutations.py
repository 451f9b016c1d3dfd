"""Damages thousands of sound files in every way that comes to mind and decodes them all: nothing may crash, hang or go unnamed.

    python -m tests.soak.audio_mutations --count 2000

Prints a table of kinds of damage against outcomes. "same" and "other" are sounds of the right and of another length: a flipped bit among
the samples of a WAV file is no fault that anyone could name, nor is an announced rate of 44,099 Hz.
"""

import argparse
import collections
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from audiojax.audio.io import Clip, DecodeOptions
from audiojax.audio.pool import decode_files
from audiojax.audio.reasons import BadAudio, Reason

HANG_SECONDS = 5.0
KINDS = [  # container, subtype, extension, rate, channels
    ("WAV", "PCM_16", "wav", 16_000, 1),
    ("WAV", "FLOAT", "wav", 44_100, 2),
    ("WAVEX", "PCM_24", "wav", 48_000, 2),
    ("FLAC", "PCM_16", "flac", 32_000, 1),
    ("OGG", "VORBIS", "ogg", 22_050, 2),
    ("OGG", "OPUS", "opus", 48_000, 1),
    ("MP3", "MPEG_LAYER_III", "mp3", 44_100, 2),
    ("AIFF", "PCM_16", "aiff", 16_000, 2),
]


def healthy_files(rng: np.random.Generator) -> list[tuple[str, bytes, float]]:
    """(extension, bytes, seconds) of one valid file per kind: a chirp in noise, 0.5 to 2 s."""
    files = []
    for container, subtype, extension, rate, channels in KINDS:
        seconds = float(rng.uniform(0.5, 2.0))
        t = np.arange(int(seconds * rate)) / rate
        chirp = 0.4 * np.sin(2 * np.pi * (200 + 900 * t) * t)[:, None] + 0.05 * rng.standard_normal((len(t), channels))
        memory = io.BytesIO()
        soundfile.write(memory, chirp, rate, format=container, subtype=subtype)
        files.append((extension, memory.getvalue(), len(t) / rate))
    return files


def flip_bits(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(data), int(rng.integers(1, 200))):
        data[place] ^= 1 << int(rng.integers(0, 8))


def edit_header(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, min(64, len(data)), int(rng.integers(1, 6))):
        data[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(0, 256)]))


def truncate(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(0, len(data))) :]


def insert(data: bytearray, rng: np.random.Generator) -> None:
    place = int(rng.integers(0, len(data)))
    data[place:place] = rng.bytes(int(rng.integers(1, 5000)))


def zero_fill(data: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(0, len(data)))
    stop = min(len(data), start + int(rng.integers(1, 4000)))
    data[start:stop] = bytes(stop - start)


def cut_out(data: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(0, len(data)))
    del data[start : start + int(rng.integers(1, 3000))]


DAMAGE: list[Callable[[bytearray, np.random.Generator], None]] = [flip_bits, edit_header, truncate, insert, zero_fill, cut_out]


def write_mutations(folder: Path, count: int, seed: int) -> dict[str, tuple[str, float]]:
    """Path -> (damage and format, seconds before it) of `count` damaged files."""
    rng = np.random.default_rng(seed)
    healthy = healthy_files(rng)
    written = {}
    for number in range(count):
        extension, content, seconds = healthy[number % len(healthy)]
        damage = DAMAGE[number // len(healthy) % len(DAMAGE)]
        data = bytearray(content)
        damage(data, rng)
        path = folder / f"{number:05d}_{damage.__name__}.{extension}"
        path.write_bytes(data)
        written[str(path)] = (damage.__name__, seconds)
    return written


def outcome_of(result: Clip | BadAudio, seconds: float) -> str:
    """Column of the table; AssertionError where the result is not what a caller may rely on."""
    if isinstance(result, BadAudio):
        assert isinstance(result.reason, Reason), result
        assert result.detail, result
        return str(result.reason)
    assert result.samples.dtype == np.float32, result
    assert result.samples.ndim == 1, result
    assert len(result.samples) > 0, result
    assert np.isfinite(result.samples).all(), result
    return "same" if abs(result.seconds - seconds) < 0.002 else "other"


def soak(folder: Path, count: int, seed: int = 0, workers: int = 2) -> tuple[dict[str, collections.Counter], float]:
    """Decodes `count` damaged files; damage -> outcomes, and the longest wait for one answer in seconds."""
    written = write_mutations(folder, count, seed)
    table: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    answered, slowest, last = [], 0.0, time.monotonic()
    for path, result in decode_files(written, DecodeOptions(sample_rate=16_000), workers=workers, timeout=HANG_SECONDS):
        now = time.monotonic()
        if answered:  # the first answer holds the start of the children
            slowest = max(slowest, now - last)
        last = now
        answered.append(path)
        damage, seconds = written[path]
        table[damage][outcome_of(result, seconds)] += 1
    assert answered == list(written), "an answer is missing, or out of order"
    return table, slowest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="files to damage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        table, slowest = soak(Path(folder), arguments.count, arguments.seed, arguments.workers)
    total = sum(table.values(), collections.Counter())
    columns = [name for name, _ in total.most_common()]
    print(" " * 12 + "".join(f"{name:>27}" if len(name) > 14 else f"{name:>16}" for name in columns))
    for row, counts in [*table.items(), ("all", total)]:
        print(f"{row:12}" + "".join(f"{counts[name]:>27}" if len(name) > 14 else f"{counts[name]:>16}" for name in columns))
    print(f"{total.total()} files in {time.monotonic() - began:.1f} s; the longest wait for an answer {slowest:.2f} s")
    assert slowest < HANG_SECONDS + 1, "a file held up the run"


if __name__ == "__main__":
    main()
