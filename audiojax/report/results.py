"""The results of one search as a page with players and spectrograms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from audiojax.audio.io import DecodeOptions, decode
from audiojax.files import shown
from audiojax.report.html import write_report
from audiojax.report.sections import Hit, Sound, TopList, TopLists

PREVIEW_SECONDS = 10.0  # of each file, from where its best window begins


class Found(Protocol):
    """What a search gives: a file, the second at which its best window begins, and the score."""

    path: Path
    start: float
    score: float


def write_results(path: str | Path, query: str, hits: Sequence[Found], *, root: str | Path = "") -> Path:
    """Writes the page and returns its path. File names are shown as seen from `root` where they lie below it.

    Raises:
      AudioFileError: a file that was searched can no longer be read.
    """
    places = []
    for hit in hits:
        clip = decode(hit.path, DecodeOptions(start=hit.start, seconds=PREVIEW_SECONDS))
        start = f"from {hit.start:.1f} s" if hit.start else ""
        places.append(Hit(Sound(clip.samples, clip.sample_rate, shorten(hit.path, root), start), hit.score))
    lists = TopLists("Results", [TopList(query, places)], f"Up to {PREVIEW_SECONDS:g} s of each file can be heard here.")
    return write_report(path, title="audiojax search", sections=[lists], subtitle=shown(root))


def shorten(path: str | Path, root: str | Path) -> str:
    """The text of the path as seen from `root`, or as it is where it does not lie below it."""
    path, root = Path(path), Path(root).expanduser()
    return shown(path.relative_to(root) if path.is_relative_to(root) else path)
