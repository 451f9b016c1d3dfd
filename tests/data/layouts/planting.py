"""What the made data sets of `making` are put together from: files, tables, tones, and the list of what must be found."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE = 8_000
NUMBERED = [f"caption_{number}" for number in range(1, 6)]


@dataclass(frozen=True)
class Planted:
    """What a made folder holds.

    Attributes:
      name: of the data set, with its version.
      layout: as `Dataset.layout` says it.
      clips: split -> clip id -> captions, of the clips that can be used.
      faults: (kind, where) of each, sorted.
      warnings: the same for what can be used.
    """

    name: str
    layout: str
    clips: Mapping[str, Mapping[str, Sequence[str]]]
    faults: Sequence[tuple[str, str]]
    warnings: Sequence[tuple[str, str]] = ()


def tone(hertz: float, *, seconds: float = 0.6, format: str = "WAV") -> bytes:
    """A sound file; one of another pitch is another sound."""
    buffer = io.BytesIO()
    samples = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
    soundfile.write(buffer, np.round(32767 * samples).astype(np.int16), RATE, format=format)
    return buffer.getvalue()


SILENCE = tone(0)
TRUNCATED = tone(440)[:-100]


def put(path: Path, data: bytes | str) -> None:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, delimiter: str = ",") -> str:
    """A CSV text."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator="\r\n").writerows([header, *rows])
    return buffer.getvalue()


def five(text: str) -> list[str]:
    """Five captions."""
    return [f"{text} {number}" for number in "abcde"]
