"""webdataset tars: members that share a name up to its first dot are one sample, a sound with a .txt or .json beside it.

Nothing is unpacked: a member is read in place, at its offset.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from audiojax.audio.io import EXTENSIONS
from audiojax.data.layouts.clips import Fault, Sound
from audiojax.data.layouts.files import Files, leaves
from audiojax.data.layouts.json_labels import parse_json
from audiojax.data.layouts.published import set_word, split_of
from audiojax.data.layouts.records import CAPTION, Listing, Row, clip_id_of
from audiojax.data.layouts.text import decode_text

LAYOUT = "webdataset tars"
MAX_TEXT_BYTES = 2**20


def read_tars(files: Files, set_name: str) -> Iterator[Listing]:
    """A listing of every uncompressed tar. One without captions has rows too, and offers its sounds to other lists.

    Args:
      set_name: of tars that do not say themselves whose they are.
    """
    for path in files.of("tar"):
        shard = _Shard(path, files.root / path)
        shard.read()
        yield shard.listing(set_word(path) or set_name)


class _Shard:
    """A tar as it is read: key -> the sample's "sound", "captions" and "json", and what is wrong with it."""

    def __init__(self, path: str, file: Path):
        self.path, self.file = path, file
        self.samples: dict[str, dict[str, Any]] = {}
        self.faults: list[Fault] = []
        self.notes: list[Fault] = []

    def read(self) -> None:
        """Takes in all members, as far as the tar is whole."""
        try:
            with tarfile.open(self.file, "r:") as tar:
                for member in tar:
                    self._take(tar, member)
                tar.fileobj.seek(tar.offset)
                if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes a broken header for the end
                    raise ValueError("it breaks off without an end mark")
        except (tarfile.TarError, OSError, ValueError) as error:
            self.faults.append(Fault("bad_archive", self.path, f"{error}; what comes after it is lost"))

    def _take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        where, name = f"{self.path}:{member.name}", PurePosixPath(member.name)
        stem, _, ending = name.name.lower().partition(".")
        sounds, texts = f".{ending}".endswith(EXTENSIONS), ending.endswith(("txt", "json"))
        if member.isdir() or not stem or not (sounds or texts):
            return
        refused = self._refused(member, texts)
        if refused:
            self.faults.append(Fault(refused[0], where, refused[1]))
            return
        sample = self.samples.setdefault(str(name.with_name(name.name[: len(stem)])), {})
        kind = "sound" if sounds else "captions" if ending.endswith("txt") else "json"
        if kind in sample:
            self.faults.append(Fault("duplicate_id", where, f"the sample has a {kind} already"))
        elif sounds:
            sample[kind] = Sound(self.file, member.name, member.offset_data, member.size)
        else:
            text, remark = decode_text(tar.extractfile(member).read())
            if remark:
                self.notes.append(Fault("encoding", where, remark))
            sample[kind] = text

    @staticmethod
    def _refused(member: tarfile.TarInfo, text: bool) -> tuple[str, str] | None:
        """(kind, detail) of the fault that a member is, whatever it holds."""
        if leaves(member.name):
            return "unsafe_path", "the name leads out of the folder"
        if not member.isreg() or member.issparse():
            return "not_a_file", "a link or a device"
        if text and member.size > MAX_TEXT_BYTES:
            return "bad_row", f"{member.size} bytes of text; at most {MAX_TEXT_BYTES} are read"
        return None

    def listing(self, set_name: str) -> Listing:
        """What was taken in, as rows."""
        split = split_of(self.path, set_name)
        rows = []
        for key, sample in self.samples.items():
            where = f"{self.path}:{key}"
            try:
                captions = captions_in(sample.get("captions"), sample.get("json"))
            except ValueError as error:
                self.faults.append(Fault("bad_row", f"{where}.json", str(error)))
                continue
            if "sound" in sample:
                rows.append(Row(where, split, clip_id_of(key, set_name, split), captions, sound=sample["sound"], alone=True))
            elif captions is not None:
                self.faults.append(Fault("missing", where, "captions without a sound"))
        sounds = tuple((sample["sound"].member, sample["sound"]) for sample in self.samples.values() if "sound" in sample)
        return Listing(self.path, LAYOUT, set_name, tuple(rows), tuple(self.faults), tuple(self.notes), sounds)


def captions_in(text: str | None, label: str | None) -> tuple[str, ...] | None:
    """The captions beside a sound: the lines of a text file, else what a JSON file has under a usual name, a text or a list of texts.

    None where there are neither. ValueError where the JSON is none.
    """
    if text is not None:
        return tuple(text.splitlines()) or ("",)
    value = parse_json(label) if label is not None else None
    if not isinstance(value, dict):
        return None
    found = next((value[name] for name in CAPTION if value.get(name) is not None), None)
    texts = found if isinstance(found, list) else [found]
    return tuple(texts) if texts and all(isinstance(text, str) for text in texts) else None
