"""Sets of sounds that are compared: a folder of files, or a split of SoundWorld, whose captions and classes are known. Host, NumPy."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from audiojax.api.describing.caption_pairs import read_captions
from audiojax.audio.pool import decode_files
from audiojax.audio.reasons import BadAudio
from audiojax.data.examples import facts_of
from audiojax.data.layouts.clips import Fault, Sound
from audiojax.data.layouts.files import SoundIndex
from audiojax.data.layouts.records import clip_id_of
from audiojax.data.soundworld.draw import SECONDS
from audiojax.data.soundworld.scenes import SPLITS, class_activity
from audiojax.data.soundworld.source import SceneSource
from audiojax.data.transforms import to_float
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.index.listing import list_sounds

WORLD = "soundworld:"  # begins the name of a split
NAMED = 3  # ids in a message

Heard = tuple[Float[np.ndarray, " n"], int] | BadAudio  # samples in [-1, 1] and Hz, or why there are none


@dataclass(frozen=True, eq=False)
class SoundSet:
    """Sounds by id, read when they are needed.

    Attributes:
      name: where they come from, for people.
      ids: of all sounds, sorted.
      read: ids -> what is heard of each, in their order.
      captions: id -> its prompt; {} where none is known.
      labels: id -> 1 for every class of SoundWorld that sounds; {} where that is not known.
      unread: folders that cannot be read.
    """

    name: str
    ids: Sequence[str]
    read: Callable[[Sequence[str]], Iterator[Heard]]
    captions: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Float[np.ndarray, " classes"]] = field(default_factory=dict)
    unread: Sequence[BadAudio] = ()


def open_set(name: str | os.PathLike) -> SoundSet:
    """The set that a name means: soundworld:SPLIT, with size and domain after commas ("soundworld:test,base,field"), or else a folder.

    Raises:
      UsageError: there is none.
    """
    text = os.fspath(name)
    return split_set(text) if isinstance(text, str) and text.startswith(WORLD) else folder_set(name)


def folder_set(folder: str | os.PathLike) -> SoundSet:
    """All sound files below a folder; their ids are their paths in it without extension.

    Raises:
      UsageError: no such folder, no sound in it, or two files with one id.
    """
    root = Path(folder).expanduser()
    found, unread = list_sounds(root)
    paths: dict[str, Path] = {}
    for path in found:
        own = clip_id_of(path.relative_to(root).as_posix(), "", "")
        if own in paths:
            raise UsageError(f"{shown(path)} and {shown(paths[own])}: two files with the id '{own}'; leave one of them")
        paths[own] = path
    return replace(file_set(shown(root), paths), unread=unread)


def file_set(name: str, paths: Mapping[str, Path]) -> SoundSet:
    """Sound files by their ids."""

    def read(ids: Sequence[str]) -> Iterator[Heard]:
        for _, clip in decode_files(paths[own] for own in ids):
            yield clip if isinstance(clip, BadAudio) else (clip.samples, clip.sample_rate)

    return SoundSet(name, sorted(paths), read)


def split_set(name: str) -> SoundSet:
    """A split of SoundWorld, synthesised as it is read.

    Raises:
      UsageError: no such split, size or domain.
    """
    split, *words = name.removeprefix(WORLD).split(",")
    domains = [word for word in words if word in ("studio", "field")]
    sizes = [word for word in words if word not in domains]
    if split not in (*SPLITS, "datastore") or len(domains) > 1 or len(sizes) > 1:
        raise UsageError(f"{shown(name)}: write {WORLD}SPLIT,SIZE,DOMAIN, such as {WORLD}test,mini,studio; splits are {', '.join(SPLITS)}")
    source = SceneSource(split, *(sizes or ["mini"]), domain=(domains or ["studio"])[0], seconds=SECONDS)
    return clip_set(name, source, range(len(source)))


def clip_set(name: str, source: Any, places: Sequence[int]) -> SoundSet:
    """Some records of a data set, with their first captions, and with their classes where all have the truth of SoundWorld.

    Raises:
      UsageError: a clip without a caption, or two with one id.
    """
    where, captions, labels = {}, {}, {}
    for place in places:
        record = facts_of(source, place)
        own = record["id"]
        if own in where:
            raise UsageError(f"{name}: two clips have the id '{own}'")
        if not len(record["captions"]):
            raise UsageError(f"{name}: clip '{own}' has no caption, which is what a sound is made from")
        where[own], captions[own] = place, record["captions"][0]
        if record.get("scene"):
            labels[own] = class_activity(record).max(axis=0)

    def read(ids: Sequence[str]) -> Iterator[Heard]:
        for own in ids:
            record = source[where[own]]
            yield to_float(record["audio"]), record["sample_rate"]

    return SoundSet(name, sorted(where), read, captions=captions, labels=labels if len(labels) == len(where) else {})


def with_captions(sounds: SoundSet, table: str | os.PathLike) -> SoundSet:
    """The set with the first caption that a CSV or TSV file has of each sound; names of files in it need no extension.

    Raises:
      UsageError: the file cannot be read, or names no caption of a sound.
    """
    index = SoundIndex((f"{own}.wav", Sound(Path(own))) for own in sounds.ids)
    found = {}
    for own, names, caption in read_captions(table):
        sound = index.find([*names, own], "")
        if not isinstance(sound, Fault):
            found.setdefault(sound.path.as_posix(), caption)
    missing = [own for own in sounds.ids if own not in found]
    if missing:
        raise UsageError(f"{shown(table)}: has no caption of {listed(missing)} of the {len(sounds.ids)} sounds in {sounds.name}")
    return replace(sounds, captions=found)


def paired(generated: SoundSet, reference: SoundSet, *, allow_missing: bool) -> Sequence[str]:
    """The ids that both sets have, sorted.

    Raises:
      UsageError: there are none, or some are missing and may not be.
    """
    both = sorted(set(generated.ids) & set(reference.ids))
    gone, more = (sorted(set(one.ids) - set(other.ids)) for one, other in ((reference, generated), (generated, reference)))
    if both and (allow_missing or not (gone or more)):
        return both
    said = [f"{listed(gone)} are not in {generated.name}"] * bool(gone) + [f"{listed(more)} are not in {reference.name}"] * bool(more)
    ways = ["--unpaired compares the two as sets, without what needs pairs"]
    ways = [f"--allow-missing measures the {len(both)} that both have"] * bool(both) + ways
    raise UsageError(f"sounds are paired by their paths without extension, and {'; '.join(said)}\n{'; '.join(ways)}")


def listed(ids: Sequence[str]) -> str:
    """How many, and the first of them: "5 (a, b, c, ...)"."""
    return f"{len(ids)} ({first_of(ids)})"


def first_of(ids: Sequence[str]) -> str:
    """The first of them: "a, b, c, ..."."""
    return ", ".join(map(shown, ids[:NAMED])) + (", ..." if len(ids) > NAMED else "")
