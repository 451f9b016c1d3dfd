"""Sounds that were made as a page with players and spectrograms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from audiojax.audio.io import decode
from audiojax.files import shown
from audiojax.report.html import write_report
from audiojax.report.sections import Sound, Sounds

MOST = 100  # sounds on a page: each is inside it


class Written(Protocol):
    """A sound file and what it was made for."""

    path: Path
    prompt: str
    score: float | None


def write_sound_page(path: str | Path, sounds: Sequence[Written], *, model: str, reference: str | Path | None = None) -> Path:
    """Writes the page and returns its path.

    Args:
      reference: a sound file that the others were made from, shown first.

    Raises:
      AudioFileError: a sound can no longer be read.
    """
    clips = [] if reference is None else [_sound(Path(reference), "the reference")]
    for one in sounds[:MOST]:
        clips.append(_sound(one.path, one.prompt if one.score is None else f"{one.prompt} (cosine {one.score:.3f})"))
    note = f"The first {MOST} of {len(sounds)} sounds; the folder has all." if len(sounds) > MOST else ""
    return write_report(path, title="audiojax generate", sections=[Sounds("Sounds", clips, note)], subtitle=shown(model))


def _sound(path: Path, caption: str) -> Sound:
    clip = decode(path)
    return Sound(clip.samples, clip.sample_rate, shown(path.name), caption)
