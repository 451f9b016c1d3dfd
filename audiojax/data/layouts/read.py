"""`read_dataset`: a folder of captioned sounds, whatever its layout, as a list of clips."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from audiojax.audio.io import EXTENSIONS
from audiojax.data.layouts.clips import Dataset, Fault
from audiojax.data.layouts.files import Files, SoundIndex, scan
from audiojax.data.layouts.folder import read_folder
from audiojax.data.layouts.gather import gather
from audiojax.data.layouts.json_labels import read_json_lists
from audiojax.data.layouts.parquet import read_parquet
from audiojax.data.layouts.published import EXPECTED, NAMES, set_word, settle_splits, version_of
from audiojax.data.layouts.records import Listing
from audiojax.data.layouts.tables import read_tables
from audiojax.data.layouts.webdataset import read_tars
from audiojax.errors import UsageError
from audiojax.files import shown

LISTS = (read_tables, read_json_lists, read_parquet, read_tars)  # before the plain folder, which is every folder


def read_dataset(folder: str | os.PathLike, *, name: str | None = None) -> Dataset:
    """The clips of a folder, and what is wrong with its lists. No sound is decoded.

    Args:
      folder: searched with its subfolders for lists (CSV, TSV, JSON, JSONL), parquet files, uncompressed tars and sound files.
      name: "audiocaps", "clotho", "wavcaps" or "folder", where it cannot be told or where several lie together; None finds out.

    Raises:
      UsageError: no such folder, another name, several data sets, or nothing in it that is understood.
    """
    if name not in (None, *NAMES):
        raise UsageError(f"there is no data set '{name}'; known are {', '.join(NAMES)}")
    files = scan(folder)
    hint = name or set_word(files.root.absolute().name)
    found = [made for read in LISTS for made in read(files, hint)]
    lists = [made for made in found if any(row.captions is not None for row in made.rows)]
    others = [replace(made, rows=()) for made in found if all(row.captions is None for row in made.rows)]
    if not lists:  # nothing but sounds, in tars or as they are
        lists = [made for made in found if made.rows] or list(read_folder(files, hint))
        others = [made for made in others if not made.sounds]
    if not lists:
        raise UsageError(_nothing(files, others))
    chosen = _of_one_set(files, lists, name)
    set_name = name or next((made.set_name for made in chosen if made.set_name), "folder")
    kept, copies = _without_copies(chosen)
    meaning = settle_splits(row.split for made in kept for row in made.rows)
    in_tars = [item for made in others for item in made.sounds]
    index = SoundIndex([*((path, files.sound(path)) for path in files.of("sound")), *in_tars], loose=set_name in ("clotho", "folder"))
    clips, faults = gather([*kept, *others], index, meaning)
    paths = [files.root.name, *(made.path for made in kept)]
    version = version_of(set_name, paths, Counter(clip.split for clip in clips))
    notes = [*(note for made in kept for note in made.notes), *copies, *_left_over(files, index, kept)]
    return Dataset(
        folder=files.root,
        name=set_name,
        version=version,
        layout="; ".join(dict.fromkeys(made.layout for made in kept)),
        clips=clips,
        faults=tuple(dict.fromkeys((*files.faults, *faults))),  # a file that is read as two things is named once
        expected=EXPECTED.get((set_name, version), {}),
        notes=tuple(notes),
    )


def _of_one_set(files: Files, lists: Sequence[Listing], name: str | None) -> list[Listing]:
    """The lists of the data set that was asked for, or of the only one that there is; lists of no known set belong to it."""
    if name:
        return [made for made in lists if made.set_name in ("", name)] or list(lists)
    names = {made.set_name: made.path for made in reversed(lists) if made.set_name}
    if len(names) > 1:
        several = ", ".join(f"{found} ({shown(path)})" for found, path in sorted(names.items()))
        raise UsageError(f"{shown(files.root)}: holds several data sets: {several}; give the folder of one, or its name")
    return list(lists)


def _without_copies(lists: Sequence[Listing]) -> tuple[list[Listing], list[Fault]]:
    """The lists without those that repeat another, and notes about these: a selection of its clips, or most of them in another format.
    One of the same format that says something else of a clip repeats nothing: it is another annotator's.

    Lists that bring the sounds themselves go first and stay.
    """
    clips = [{(row.split, row.id) for row in made.rows} for made in lists]
    said = [{(row.split, row.id, text) for row in made.rows for text in row.captions or ()} for made in lists]
    brings_sounds = [any(row.sound is not None for row in made.rows) for made in lists]
    kept: list[int] = []
    notes = []
    for number in sorted(range(len(lists)), key=lambda number: (not brings_sounds[number], -len(clips[number]))):
        shared = {other: len(clips[number] & clips[other]) / len(clips[number]) for other in kept if not brings_sounds[number]}
        enough = {other: 1.0 if lists[other].layout == lists[number].layout else 0.5 for other in shared}
        others = [other for other in shared if shared[other] >= enough[other]]
        original = next((other for other in others if enough[other] < 1 or said[number] <= said[other]), None)
        if original is None:
            kept.append(number)
        else:
            detail = f"left aside: {shared[original]:.0%} of its clips are in {shown(lists[original].path)}"
            notes.append(Fault("copied_list", lists[number].path, detail))
    return [lists[number] for number in sorted(kept)], notes


def _left_over(files: Files, index: SoundIndex, kept: Sequence[Listing]) -> list[Fault]:
    """Notes about what lies in the folder and was not used."""
    notes = [
        Fault("packed", path, "an archive that is not looked into: unpack it, a tar without compression may stay")
        for path in files.of("packed")
    ]
    unused = index.unused() if any(made.path and row.sound is None for made in kept for row in made.rows) else []
    if unused:
        notes.append(Fault("unlisted_sounds", shown(unused[0]), f"{len(unused)} sound files that no list names"))
    return notes


def _nothing(files: Files, others: Sequence[Listing]) -> str:
    looked = "a CSV, JSON, JSONL or parquet file with columns for captions and sound files, tars, or sound files"
    fault = next((fault for made in others for fault in made.faults), None)
    if fault is not None:
        return f"{shown(files.root)}: {shown(fault.where)} cannot be read: {fault.detail}; nothing else in it is a list of sounds"
    if files.of("packed"):
        return f"{shown(files.root)}: only archives that are not looked into, such as {shown(files.of('packed')[0])}; unpack them"
    return f"{shown(files.root)}: no data set that is understood; looked for {looked} ({' '.join(EXTENSIONS)})"
