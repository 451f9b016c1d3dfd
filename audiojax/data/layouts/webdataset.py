"""webdataset tars: members that share a name up to its first dot are one sample, a sound with a .txt or .json beside it.

Nothing is unpacked: a member is read in place, at its offset.
"""

import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from audiojax.audio.io import EXTENSIONS
from audiojax.data.layouts.clips import Fault, Sound
from audiojax.data.layouts.files import Files, leaves
from audiojax.data.layouts.json_labels import parse_json
from audiojax.data.layouts.published import set_word, split_word, wavcaps_part
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
        samples: dict[str, dict[str, Any]] = {}
        faults: list[Fault] = []
        notes: set[str] = set()
        try:
            with tarfile.open(files.root / path, "r:") as tar:
                for member in tar:
                    _take(tar, member, path, files, samples, faults, notes)
                tar.fileobj.seek(tar.offset)
                if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes a broken header for the end
                    raise ValueError("it breaks off without an end mark")
        except (tarfile.TarError, OSError, ValueError) as error:
            faults.append(Fault("bad_archive", path, f"{error}; what comes after it is lost"))
        yield _listing(path, set_word(path) or set_name, samples, faults, notes)


def _take(
    tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, files: Files, samples: dict[str, Any], faults: list[Fault], notes: set[str]
) -> None:
    """Adds a member to its sample."""
    where = f"{path}:{member.name}"
    name = PurePosixPath(member.name)
    if member.isdir() or name.name.startswith("."):
        return
    if leaves(member.name):
        faults.append(Fault("unsafe_path", where, "the name leads out of the folder"))
        return
    if not member.isreg() or member.issparse():
        faults.append(Fault("not_a_file", where, "a link or a device"))
        return
    stem, _, ending = name.name.partition(".")
    sample = samples.setdefault(str(name.with_name(stem)), {})
    ending = ending.lower()
    if f".{ending}".endswith(EXTENSIONS):
        kind, value = "sound", (member.name, Sound(files.root / path, member.name, member.offset_data, member.size))
    elif ending.endswith(("txt", "json")):
        if member.size > MAX_TEXT_BYTES:
            faults.append(Fault("bad_row", where, f"{member.size} bytes of text; at most {MAX_TEXT_BYTES} are read"))
            return
        text, remark = decode_text(tar.extractfile(member).read())
        if remark:
            notes.add(f"{member.name}: {remark}")
        kind, value = ("captions", tuple(text.splitlines()) or ("",)) if ending.endswith("txt") else ("json", text)
    else:
        return
    if kind in sample:
        faults.append(Fault("duplicate_id", where, f"the sample has a {kind} already"))
    else:
        sample[kind] = value


def _listing(path: str, set_name: str, samples: dict[str, Any], faults: list[Fault], notes: set[str]) -> Listing:
    rows = []
    for key, sample in samples.items():
        where = f"{path}:{key}"
        captions = sample.get("captions")
        if captions is None and "json" in sample:
            try:
                captions = captions_of(parse_json(sample["json"]))
            except ValueError as error:
                faults.append(Fault("bad_row", f"{where}.json", str(error)))
                continue
        if "sound" not in sample:
            if captions is not None:
                faults.append(Fault("missing", where, "captions without a sound"))
            continue
        split = (wavcaps_part(path) if set_name == "wavcaps" else "") or split_word(path)
        rows.append(Row(where, split, clip_id_of(key, set_name, split), captions, sound=sample["sound"][1], alone=True))
    sounds = tuple(sample["sound"] for sample in samples.values() if "sound" in sample)
    remarks = tuple(Fault("encoding", path, note) for note in sorted(notes))
    return Listing(path, LAYOUT, set_name, tuple(rows), tuple(faults), remarks, sounds)


def captions_of(value: Any) -> tuple[str, ...] | None:
    """The captions in the JSON beside a sound: a text or a list of texts under a usual name; None where it has none."""
    if not isinstance(value, dict):
        return None
    found = next((value[name] for name in CAPTION if value.get(name) is not None), None)
    texts = found if isinstance(found, list) else [found]
    return tuple(texts) if texts and all(isinstance(text, str) for text in texts) else None
