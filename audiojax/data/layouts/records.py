"""One record of a list (a table's row, a JSON object) as a row that names its clip, its captions and its sound file."""

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audiojax.data.layouts.clips import Fault, Sound
from audiojax.data.layouts.files import DRIVE, without_extension
from audiojax.data.layouts.published import as_split, set_word

SPLIT = ("split", "subset", "partition")
YOUTUBE = ("youtube_id", "ytid", "youtubeid", "yt_id")
ROW = ("audiocap_id", "audiocaps_id", "caption_id")
START = ("start_time", "start_seconds", "start_s", "start")
ID = ("id", "clip_id", "audio_id", "key")
PATH = ("audio_filepath", "audio_path", "wav_path", "file_path", "filepath", "path", "location")
FILE = ("file_name", "filename", "fname", "audio_filename", "wav", *PATH, "file", "audio_file", "audio", "sound", *ID)
CAPTION = ("caption", "captions", "text", "texts", "sentence", "sentences", "transcription", "description")
NUMBERED = re.compile(r"(?:caption|text|sentence)s?[_ ]?\d+")
YOUTUBE_FILE = re.compile(r"Y[\w-]{11}")


@dataclass(frozen=True)
class Row:
    """What one record says, not yet checked.

    Attributes:
      where: the file and line, row or member.
      split: a word of `published.split_word`, "" where none is said.
      id: of the clip.
      captions: as written; None = the layout has no captions.
      names: what the sound file may be called, the likeliest first.
      sound: the sound itself, where the record brings it.
      key: of the record, where the layout gives each its own.
      alone: whether the clip has no other records.
      start: seconds of the file at which the clip begins.
      seconds: its length; None = to the end.
    """

    where: str
    split: str
    id: str
    captions: tuple[str, ...] | None
    names: tuple[str, ...] = ()
    sound: Sound | None = None
    key: str = ""
    alone: bool = False
    start: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True)
class Listing:
    """What one label file, archive or folder lists.

    Attributes:
      path: relative to the root; of a plain folder "".
      layout: its shape, in words.
      set_name: the published set that it is a list of; "" where nothing says so.
      rows: in its order.
      faults: of records that are no rows.
      notes: what was decided on the way.
      sounds: of an archive that may belong to another list: (name, sound).
    """

    path: str
    layout: str
    set_name: str
    rows: tuple[Row, ...]
    faults: tuple[Fault, ...] = ()
    notes: tuple[Fault, ...] = ()
    sounds: tuple[tuple[str, Sound], ...] = ()


@dataclass(frozen=True)
class Fields:
    """Which fields of a list hold what; "" or () where none does."""

    captions: tuple[str, ...]
    file: tuple[str, ...]
    youtube: str = ""
    key: str = ""
    id: str = ""
    split: str = ""
    start: str = ""

    @classmethod
    def among(cls, names: Iterable[str], *, keyed: bool = False) -> "Fields | None":
        """The fields of a list of captioned sounds; None where the names are those of something else.

        Args:
          keyed: whether the number of a caption may name the clip, where nothing names its sound.
        """
        by_name = {name.strip().lower().replace(" ", "_"): name for name in names}
        numbered = tuple(by_name[name] for name in by_name if NUMBERED.fullmatch(name))
        first = _first(by_name, CAPTION)
        captions = numbered or ((first,) if first else ())
        file = tuple(by_name[name] for name in FILE if name in by_name)
        youtube, key = _first(by_name, YOUTUBE), _first(by_name, ROW)
        if keyed and key and not (file or youtube):
            file = (key,)
        described = first == "description" and not numbered  # of classes, most often, where no file is named
        if not captions or not (file or youtube) or (described and set(file) <= {by_name.get(name) for name in ID}):
            return None
        return cls(captions, file, youtube, key, *(_first(by_name, known) for known in (ID, SPLIT, START)))

    def set_of(self, path: str, otherwise: str) -> str:
        """The published set that a list belongs to: by its path, else by columns that AudioCaps alone has."""
        own = self.youtube.lower() == "youtube_id" or self.key.lower().startswith("audiocap")
        return set_word(path) or ("audiocaps" if own else otherwise)

    def names(self) -> set[str]:
        """All fields that `row_of` looks at."""
        return {*self.captions, *self.file, self.youtube, self.key, self.id, self.split, self.start, "offset", "duration"}


def row_of(record: Mapping[str, Any], fields: Fields, where: str, split: str, set_name: str) -> Row | Fault:
    """The row that a record means; a "bad_row" fault where its values have the wrong types.

    Args:
      record: one value per field; missing ones count as empty.
      fields: of its list.
      where: the file and line, for people.
      split: that the list's name speaks of; a field of the record goes before it.
      set_name: of the published set, whose ids and file names have rules.
    """
    captions: list[str] = []
    for field in fields.captions:
        value = record.get(field)
        values = value if isinstance(value, list | tuple) else [value]
        if not all(item is None or isinstance(item, str) for item in values):
            return Fault("bad_row", where, f"{field} is not text")
        captions += ["" if item is None else item for item in values] or [""]
    split = as_split(_text(record.get(fields.split))) or split if fields.split else split
    key = _text(record.get(fields.key)) if fields.key else ""
    alone = len(fields.captions) > 1 or any(isinstance(record.get(field), list | tuple) for field in fields.captions)
    youtube = _text(record.get(fields.youtube)) if fields.youtube else ""
    named = [_text(record.get(field)) for field in fields.file]
    if set_name == "wavcaps" and fields.id:  # its "file_name" is what the file was called on FreeSound
        named = [_text(record.get(fields.id))]
    start, seconds = _stretch(record)
    if youtube:
        names = (*filter(None, named), *youtube_names(youtube, _text(record.get(fields.start)), key))
        return Row(where, split, youtube, tuple(captions), names, None, key, alone, start, seconds)
    names = tuple(dict.fromkeys(filter(None, named)))
    if not names:
        return Fault("bad_row", where, "names no sound file")
    named_by_file = set_name in ("audiocaps", "clotho")  # an "id" of theirs is FreeSound's number, or "Not found"
    own = "" if named_by_file or not fields.id else _text(record.get(fields.id))
    clip_id = clip_id_of(own or names[0], set_name, split)
    if (start or seconds) and not own:
        clip_id += f"@{start:g}"
    return Row(where, split, clip_id, tuple(captions), names, None, key, alone, start, seconds)


def clip_id_of(name: str, set_name: str, split: str) -> str:
    """The id of the clip whose file has this name: NFC, without extension and ways up; of published sets in any layout the same."""
    parts = " ".join(unicodedata.normalize("NFC", name).split()).replace("\\", "/").split("/")
    clip_id = without_extension("/".join(part for part in parts if part not in ("", ".", "..") and not DRIVE.fullmatch(part)))
    clip_id = clip_id.encode("utf-8", "backslashreplace").decode()  # names on disk are bytes
    if set_name == "wavcaps":
        return f"{split}/{posixpath.basename(clip_id)}"  # its parts number their sounds alike
    if set_name in ("audiocaps", "clotho"):
        clip_id = posixpath.basename(clip_id)
    return clip_id[1:] if set_name == "audiocaps" and YOUTUBE_FILE.fullmatch(clip_id) else clip_id


def listing(path: str, layout: str, set_name: str, found: Iterable[Row | Fault], remark: str = "") -> Listing:
    """The listing of a label file with these records, and a note on its encoding where there is a remark."""
    found = list(found)
    rows = tuple(row for row in found if isinstance(row, Row))
    faults = tuple(fault for fault in found if isinstance(fault, Fault))
    return Listing(path, layout, set_name, rows, faults, (Fault("encoding", path, remark),) if remark else ())


def youtube_names(youtube: str, start: str, key: str = "") -> tuple[str, ...]:
    """What people call the file of an AudioSet clip: its id, or "Y" and the id, with or without start and end; or the caption's number."""
    names = [youtube, f"Y{youtube}"]
    if re.fullmatch(r"\d+(\.\d+)?", start):
        second = int(float(start))
        tails = (f"{second}", f"{second}_{second + 10}", f"{1000 * second}", f"{1000 * second}_{1000 * (second + 10)}", f"{second:06d}")
        names += [f"{name}_{tail}" for tail in tails for name in (youtube, f"Y{youtube}")]
    return (*names, key) if key else tuple(names)


def _stretch(record: Mapping[str, Any]) -> tuple[float, float | None]:
    """(start, seconds) of manifests that cut a file into clips: they have an "offset" beside the duration."""
    offset, duration = record.get("offset"), record.get("duration")
    try:
        start = float(offset)
    except (TypeError, ValueError):
        return 0.0, None
    if not 0 <= start < float("inf"):
        return 0.0, None
    try:
        seconds = float(duration)
    except (TypeError, ValueError):
        return start, None
    return start, seconds if 0 < seconds < float("inf") else None


def _text(value: Any) -> str:
    """A field as text: file names and ids may be numbers, an audio field may be {"path": ...}."""
    if isinstance(value, Mapping):
        value = value.get("path")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value).strip()


def _first(by_name: Mapping[str, str], known: Sequence[str]) -> str:
    return next((by_name[name] for name in known if name in by_name), "")
