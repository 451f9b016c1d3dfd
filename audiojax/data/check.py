"""What a folder of captioned sounds holds and what is wrong with it, before a long training finds out. Host only, no jax."""

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from audiojax.audio.reasons import BadAudio
from audiojax.data.hearing import Heard, hear_all
from audiojax.data.layouts.clips import Clip, Dataset, Fault, Sound
from audiojax.data.layouts.read import read_dataset
from audiojax.data.layouts.sounds import name_of
from audiojax.progress import counting_bar

LENGTHS = (1, 2, 5, 10, 15, 30, 60)  # seconds, between the bins of the histogram


@dataclass(frozen=True)
class SplitCount:
    """One split in numbers.

    Attributes:
      split: its name.
      found: its usable clips.
      expected: clips of the published split; None where nothing is published.
      captions: of these clips.
      seconds: of each clip, sorted; () when nothing was decoded.
    """

    split: str
    found: int
    expected: int | None
    captions: int
    seconds: tuple[float, ...] = ()

    def histogram(self) -> list[int]:
        """Clips shorter than each of LENGTHS and not shorter than the one before, then all longer ones."""
        return np.bincount(np.searchsorted(LENGTHS, self.seconds, side="right"), minlength=len(LENGTHS) + 1).tolist()


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Attributes:
      dataset: the folder as it was read.
      clips: those that training can use, as far as was looked.
      splits: those found and those expected.
      faults: what cannot be used: of the lists, then of the sounds (named by `audiojax.audio.reasons.Reason`).
      warnings: what can be used and should be looked at: "silent", "too_short", "duplicate_sound", "duplicate_caption", "overlap_id" and
        "overlap_sound" (in two splits), and the notes of the data set.
      list_hash: of the usable clips: ids, splits and captions, in any order.
      decoded: whether the sounds were decoded.
    """

    dataset: Dataset
    clips: tuple[Clip, ...]
    splits: tuple[SplitCount, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    list_hash: str
    decoded: bool

    @property
    def seconds(self) -> float:
        """Length of all usable clips together; 0 when nothing was decoded."""
        return sum(sum(split.seconds) for split in self.splits)


def check(
    folder: str | os.PathLike,
    *,
    name: str | None = None,
    fast: bool = False,
    min_seconds: float = 0.5,
    workers: int | None = None,
    timeout: float = 20.0,
    progress: bool = False,
) -> Report:
    """Reads the lists of a folder and decodes its sounds.

    Args:
      folder: see `read_dataset`.
      name: of the data set, where it cannot be told.
      fast: leave the sounds undecoded: only the lists and whether the files are there.
      min_seconds: shorter clips are warned of.
      workers: child processes that decode; None for one per core, at most 4.
      timeout: seconds that some minutes of one sound may take to decode.
      progress: show a bar on stderr.

    Raises:
      UsageError: no such folder, or no data set in it that is understood.
    """
    dataset = read_dataset(folder, name=name)
    heard = {} if fast else _hear(dataset.clips, workers, timeout, progress)
    usable = [clip for clip in dataset.clips if not isinstance(heard.get(clip.sound), BadAudio)]
    root = dataset.folder
    faults = [Fault(str(bad.reason), name_of(sound, root), bad.detail) for sound, bad in heard.items() if isinstance(bad, BadAudio)]
    quality = _quality(usable, heard, min_seconds, root)
    warnings = [*_overlaps(usable, heard, root), *quality, *_duplicates(usable, heard, root), *dataset.notes]
    return Report(
        dataset=dataset,
        clips=tuple(usable),
        splits=tuple(_counts(usable, heard, dataset.expected)),
        faults=(*dataset.faults, *faults),
        warnings=tuple(warnings),
        list_hash=list_hash(usable),
        decoded=not fast,
    )


def list_hash(clips: Iterable[Clip]) -> str:
    """Sixteen hexadecimal digits of the ids, splits and captions, the same in any order of clips and captions."""
    lines = sorted(json.dumps([clip.split, clip.id, sorted(clip.captions)]) for clip in clips)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def _hear(clips: Sequence[Clip], workers: int | None, timeout: float, progress: bool) -> dict[Sound, Heard | BadAudio]:
    """What each sound is like; in the order of the files, so that a table or a tar is read from front to back."""
    sounds = sorted({clip.sound for clip in clips}, key=lambda sound: (sound.path, sound.offset, _row(sound)))
    with counting_bar("sounds", progress) as bar, contextlib.closing(hear_all(sounds, workers=workers, timeout=timeout)) as results:
        return dict(bar.track(results, total=len(sounds), description="decoding"))


def _row(sound: Sound) -> int:
    number = sound.member.partition("/")[0]
    return int(number) if number.isdecimal() else 0


def _length(clip: Clip, heard: Heard) -> float:
    """Seconds of the clip that its sound has."""
    left = max(0.0, heard.seconds - clip.start)
    return left if clip.seconds is None else min(left, clip.seconds)


def _counts(usable: Sequence[Clip], heard: Mapping[Sound, Heard], expected: Mapping[str, int]) -> Iterator[SplitCount]:
    by_split: dict[str, list[Clip]] = {split: [] for split in expected}
    for clip in usable:
        by_split.setdefault(clip.split, []).append(clip)
    usual = ("train", "val", "test")
    for split, clips in sorted(by_split.items(), key=lambda item: (usual.index(item[0]) if item[0] in usual else 3, item[0])):
        seconds = sorted(_length(clip, heard[clip.sound]) for clip in clips if clip.sound in heard)
        yield SplitCount(split, len(clips), expected.get(split), sum(len(clip.captions) for clip in clips), tuple(seconds))


def _quality(usable: Sequence[Clip], heard: Mapping[Sound, Heard], min_seconds: float, root: Path) -> Iterator[Fault]:
    for clip in usable:
        if clip.sound not in heard:
            continue
        if heard[clip.sound].silent:
            yield Fault("silent", name_of(clip.sound, root), "nothing is heard in it")
        seconds = _length(clip, heard[clip.sound])
        if seconds < min_seconds:
            yield Fault("too_short", name_of(clip.sound, root), f"{seconds:.3g} s")


def _overlaps(usable: Sequence[Clip], heard: Mapping[Sound, Heard], root: Path) -> Iterator[Fault]:
    """Clips of one id, and sounds of one content under other ids, that lie in two splits."""
    ids: dict[str, list[str]] = {}
    contents: dict[object, list[Clip]] = {}
    for clip in usable:
        ids.setdefault(clip.id, []).append(clip.split)
        contents.setdefault(_content(clip, heard), []).append(clip)
    for clip_id, splits in ids.items():
        if len(splits) > 1:
            yield Fault("overlap_id", clip_id, f"in {' and '.join(splits)}")
    for content, clips in contents.items():
        if content is None:
            continue
        one_of_each = {clip.split: clip for clip in reversed(clips)}
        for first, second in combinations(reversed(one_of_each.values()), 2):
            if first.id != second.id:
                there = f"the same sound is in {second.split}: {name_of(second.sound, root)}"
                yield Fault("overlap_sound", name_of(first.sound, root), f"{first.split}; {there}")


def _duplicates(usable: Sequence[Clip], heard: Mapping[Sound, Heard], root: Path) -> Iterator[Fault]:
    """Sounds and captions that come again in the same split."""
    first_with: dict[tuple[str, object], Clip] = {}
    captions: Counter[tuple[str, str]] = Counter()
    for clip in usable:
        content = _content(clip, heard)
        earlier = first_with.setdefault((clip.split, content), clip)
        if content is not None and earlier is not clip:
            yield Fault("duplicate_sound", name_of(clip.sound, root), f"the same as {name_of(earlier.sound, root)}")
        captions.update((clip.split, text) for text in clip.captions)
    for (split, text), count in captions.items():
        if count > 1:
            yield Fault("duplicate_caption", split, f"{count} times: {text}")


def _content(clip: Clip, heard: Mapping[Sound, Heard]) -> object:
    """What is the same for clips that sound the same; None where nothing is heard, for silences are all alike."""
    sound = heard.get(clip.sound)
    if sound is not None and sound.silent:
        return None
    return (sound.digest if sound else clip.sound, clip.start, clip.seconds)
