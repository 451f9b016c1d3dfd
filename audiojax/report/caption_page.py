"""The captions of sound files as a page with players and spectrograms."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

from audiojax.audio.io import DecodeOptions, decode
from audiojax.files import shown
from audiojax.report.html import write_report
from audiojax.report.sections import Sound, Wording, Wordings

MOST = 100  # windows on a page: each carries its sound


class Captioned(Protocol):
    """A caption of a window of a file."""

    path: Path
    start: float
    end: float
    text: str


def write_caption_page(path: str | Path, captions: Sequence[Captioned], *, model: str) -> Path:
    """Writes the page and returns its path; candidates of a window, which follow one another, stand together.

    Raises:
      AudioFileError: a file that was described can no longer be read.
    """
    windows = [(key, list(group)) for key, group in groupby(captions, key=lambda one: (one.path, one.start, one.end))]
    clips = []
    for (file, start, end), group in windows[:MOST]:
        clip = decode(file, DecodeOptions(start=start, seconds=end - start))
        place = Sound(clip.samples, clip.sample_rate, f"{shown(file)}, {start:.1f} to {end:.1f} s")
        clips.append(Wording(place, {"": [one.text for one in group]}))
    note = f"The first {MOST} of {len(windows)} windows; the table has all." if len(windows) > MOST else ""
    return write_report(path, title="audiojax caption", sections=[Wordings("Captions", clips, note)], subtitle=shown(model))
