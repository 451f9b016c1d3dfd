"""What every layout is read into: clips with their captions and the place of their sound, and what is wrong with the folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sound:
    """Where the bytes of a sound file lie: a file, or a part of a larger one.

    Attributes:
      path: the file; an archive or a table where `member` is set.
      member: name in a tar, or "row/column" of a parquet file ("7/audio.bytes"); "" = the file itself.
      offset: byte of `path` at which a member of an uncompressed tar begins.
      size: bytes of the member; of a whole file, 0.
    """

    path: Path
    member: str = ""
    offset: int = 0
    size: int = 0

    def __str__(self) -> str:  # by which the pool of decoding processes names it
        return f"{self.path}:{self.member}" if self.member else str(self.path)


@dataclass(frozen=True)
class Clip:
    """One sound with its captions.

    Attributes:
      id: unique in its split; the same id in two splits is an overlap.
      split: "train" | "val" | "test", or the name of another split on disk.
      captions: cleaned by `clean_text`, none empty; () only where the layout has none.
      sound: its file.
      start: seconds of the file at which the clip begins.
      seconds: its length; None = to the end.
    """

    id: str
    split: str
    captions: tuple[str, ...]
    sound: Sound
    start: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True)
class Fault:
    """Something wrong with one item of a data set, which is left out.

    Attributes:
      kind: what faults are counted under. Of a clip: "missing", "ambiguous_sound", "unsafe_path", "empty_caption", "no_caption",
        "duplicate_id", "duplicate_row"; of a record: "bad_row", "not_a_file"; of what holds many: "bad_list", "bad_archive",
        "unreadable_folder".
      where: the file and line, row or member.
      detail: one line.
    """

    kind: str
    where: str
    detail: str = ""


@dataclass(frozen=True)
class Dataset:
    """A folder as it was understood.

    Attributes:
      folder: the root.
      name: "audiocaps", "clotho", "wavcaps" or "folder".
      version: "v1", "v2", "v2.1"; "" where it has none.
      layout: which shape was found, in words.
      clips: sorted by split and id.
      faults: of the lists and tables; the sounds themselves are judged when they are decoded.
      expected: split -> clips that the published set has; {} where nothing is published.
      notes: nothing is wrong with these: a list in an old encoding, a copy of another list, sounds that no list names.
    """

    folder: Path
    name: str
    version: str
    layout: str
    clips: tuple[Clip, ...]
    faults: tuple[Fault, ...] = ()
    expected: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[Fault, ...] = ()

    def splits(self) -> dict[str, tuple[Clip, ...]]:
        """Split -> its clips, in order."""
        found: dict[str, list[Clip]] = {}
        for clip in self.clips:
            found.setdefault(clip.split, []).append(clip)
        return {split: tuple(clips) for split, clips in found.items()}
