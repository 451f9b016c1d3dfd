"""The files below a folder, sorted by what they may be, and the sound that a name in a list means."""

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audiojax.audio.io import EXTENSIONS
from audiojax.data.layouts.clips import Fault, Sound
from audiojax.data.layouts.published import WAVCAPS_LISTS, settle_splits, split_word, wavcaps_part
from audiojax.data.layouts.text import plain_name
from audiojax.errors import UsageError
from audiojax.files import shown

KINDS = {".csv": "table", ".tsv": "table", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".tar": "tar"}
PACKED = (".zip", ".7z", ".rar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".txz", ".z01")
MAX_LIST_BYTES = 2**30
DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Files:
    """What lies below a folder, by kind, each list sorted. Paths are relative, with "/" between their parts.

    Attributes:
      root: the folder.
      by_kind: "table", "json", "jsonl", "parquet", "tar", "text", "packed" and "sound" -> relative paths.
      faults: folders that cannot be read, and what has the name of a file and is none.
    """

    root: Path
    by_kind: dict[str, list[str]] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def of(self, kind: str) -> Sequence[str]:
        """Relative paths of one kind."""
        return self.by_kind.get(kind, ())

    def sound(self, path: str) -> Sound:
        """The sound that is the file itself."""
        return Sound(self.root / path)

    def read(self, path: str) -> bytes:
        """All bytes of a label file. OSError where it cannot be read, ValueError where it is absurdly large."""
        size = os.stat(self.root / path).st_size
        if size > MAX_LIST_BYTES:
            raise ValueError(f"{size} bytes; lists of at most {MAX_LIST_BYTES} are read")
        return (self.root / path).read_bytes()


def scan(folder: str | os.PathLike) -> Files:
    """Everything below a folder. Hidden names are left out, links are followed and loops of links are not.

    Raises:
      UsageError: there is no such folder.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UsageError(f"{shown(root)}: " + ("is a file; give the folder it lies in" if root.exists() else "no such folder"))
    by_kind: dict[str, list[str]] = {}
    faults: list[Fault] = []
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        here = waiting.pop()
        try:
            status = os.stat(root / here)
            entries = [] if (status.st_dev, status.st_ino) in seen else sorted(os.scandir(root / here), key=lambda entry: entry.name)
        except OSError as error:
            faults.append(Fault("unreadable_folder", here or ".", error.strerror or ""))
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            path, kind = f"{here}/{entry.name}" if here else entry.name, _kind(entry.name)
            if entry.name.startswith("."):
                continue
            if os.path.isdir(entry) if entry.is_symlink() else entry.is_dir():
                waiting.append(path)
            elif kind and (os.path.isfile(entry) if entry.is_symlink() else entry.is_file()):
                by_kind.setdefault(kind, []).append(path)
            elif kind:
                faults.append(Fault("not_a_file", path, "a broken link, a pipe or a device"))
    return Files(root, {kind: sorted(paths) for kind, paths in by_kind.items()}, tuple(faults))


def _kind(name: str) -> str:
    lowered = name.lower()
    if lowered.endswith(EXTENSIONS):
        return "sound"
    if lowered.endswith(PACKED):
        return "packed"
    return "text" if lowered.endswith(".txt") else KINDS.get(os.path.splitext(lowered)[1], "")


def without_extension(name: str) -> str:
    """The name without the ending of a sound file; other dots stay."""
    stem, ending = posixpath.splitext(name)
    return stem if ending.lower() in EXTENSIONS else name


def leaves(name: str, folder: str = "") -> bool:
    """Whether a relative name, seen from a folder below the root, lies outside the root."""
    return posixpath.normpath(posixpath.join(folder, name)).startswith(("..", "/"))


class SoundIndex:
    """Every sound below a folder, by path, by name and by name without extension; names agree in Unicode NFC.

    Args:
      sounds: (relative path, sound).
      loose: whether names that agree in nothing but letters and digits may be the same: archives and file systems change the others. Not
        for ids in which "-" and "_" differ.
    """

    def __init__(self, sounds: Iterable[tuple[str, Sound]], *, loose: bool = False):
        self._sounds: dict[str, Sound] = {}
        self._places: dict[str, list[str]] = {}  # name or stem -> paths
        self._plain: dict[str, list[str]] = {}
        for path, sound in sounds:
            path = unicodedata.normalize("NFC", path)
            self._sounds[path] = sound
            name = posixpath.basename(path)
            for key in {name, without_extension(name)}:
                self._places.setdefault(key, []).append(path)
            if loose:
                self._plain.setdefault(plain_name(without_extension(name)), []).append(path)
        self._used: set[str] = set()

    def find(self, names: Sequence[str], split: str, folder: str = "") -> Sound | Fault:
        """The sound that a row means, or a fault without its place: "missing", "unsafe_path" or "ambiguous_sound".

        A name is tried as a path from the list's folder and from the root, then its last parts, then as a name anywhere, with any
        extension; of several that fit, one in a folder of the split is taken. An absolute path is only ever looked up inside the folder.

        Args:
          names: what the file may be called, the likeliest first.
          split: of the row, settled.
          folder: of the list, relative to the root.
        """
        cleaned = [unicodedata.normalize("NFC", name).replace("\\", "/") for name in names]
        cleaned = [name for name in cleaned if name.strip("/. ")]
        for name in cleaned:
            if ".." in name.split("/") and leaves(name) and leaves(name, folder):
                return Fault("unsafe_path", "", f"{name!r} leads out of the folder")
        for look in (self._by_path, self._by_name, self._by_letters):
            for name in cleaned:
                places = [path for path in look(name, folder) if _same_part(path, split)]
                if places:
                    return self._choose(places, name, split)
        for name in cleaned:
            if name.startswith("/") or DRIVE.fullmatch(name.split("/")[0]):
                return Fault("unsafe_path", "", f"{name!r} lies outside the folder, and no file in it has that name")
        return Fault("missing", "", f"no sound file named {cleaned[0]!r}" if cleaned else "no name of a sound file")

    def unused(self) -> list[str]:
        """Paths of the sounds that no row meant."""
        return sorted(set(self._sounds) - self._used)

    def _by_path(self, name: str, folder: str) -> list[str]:
        tries = [f"{folder}/{name}" if folder else name, name]
        if "/" in name:
            tries = [posixpath.normpath(path) for path in tries]
        return [path for path in tries if path in self._sounds][:1]

    def _by_name(self, name: str, folder: str) -> list[str]:
        last = name.rpartition("/")[2]
        places = self._places.get(last) or self._places.get(without_extension(last)) or []
        parts = without_extension(posixpath.normpath(name)).split("/") if places else []
        for first in range(1, len(parts) - 1):  # the longest tail of the path that some file shares
            tail = "/" + "/".join(parts[first:])
            shared = [path for path in places if f"/{without_extension(path)}".endswith(tail)]
            if shared:
                return shared
        return places

    def _by_letters(self, name: str, folder: str) -> list[str]:
        return self._plain.get(plain_name(without_extension(posixpath.basename(name))), [])

    def _choose(self, places: list[str], name: str, split: str) -> Sound | Fault:
        if len(places) > 1:
            ending = posixpath.splitext(name)[1]
            for fits in (lambda path: _in_split(path, split), lambda path: ending and path.endswith(ending)):
                places = [path for path in places if fits(path)] or places
        if len(places) > 1:
            return Fault("ambiguous_sound", "", f"{name!r} may be {' or '.join(places[:2])}")
        self._used.add(places[0])
        return self._sounds[places[0]]


def _same_part(path: str, split: str) -> bool:
    """Not when the path lies in another part of WavCaps than the row: their numbers are different sounds."""
    return split not in WAVCAPS_LISTS.values() or wavcaps_part(path) in ("", split)


def _in_split(path: str, split: str) -> bool:
    word = split_word(posixpath.dirname(path))
    return settle_splits([word]).get(word) == split
