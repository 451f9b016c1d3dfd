"""Recordings packed for training: decoded, mixed down, resampled, cut, and stored as ArrayRecord in the schema that `open_records` reads.

The same list gives the same bytes, whatever packs it: one process or many, at one go or after a kill, here or on Beam. The unit is the
shard: the clips of one are decoded, written beside its place and moved there, and a shard that is there is not made again. What decides
the bytes is in the folder's name, so that shards of another list or another sample rate never meet.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from audiojax.audio.reasons import PASSING
from audiojax.data import shards
from audiojax.data.check import list_hash
from audiojax.data.layouts.clips import Clip, Dataset, Sound
from audiojax.data.recordings_beam import run_on_beam
from audiojax.data.recordings_shard import Settings, Task, note_path, write_alone, write_tasks
from audiojax.data.sources import schema
from audiojax.errors import AudiojaxError, UsageError
from audiojax.files import shown, write_whole
from audiojax.progress import counting_bar

SAMPLE_RATE = 32_000  # Hz; what PANNs and with it the published configs take
MAX_SECONDS = {"audiocaps": 10.0, "clotho": 30.0}  # the length that the set promises; a file may hold more
SHARD_CLIPS = 128  # 80 MB of ten seconds each; a process writes one at a time
GLIMPSE = 4_096  # bytes of a sound that are looked at to tell it from another of its size
REPORT = "report.json"


@dataclass(frozen=True)
class _Plan:
    """What goes where.

    Attributes:
      dataset, settings, shard_clips: what was asked for.
      name: that TFDS knows the set by.
      content: hash of the list.
      folder: of the packed set.
      tasks: its shards, written or not.
    """

    dataset: Dataset
    settings: Settings
    shard_clips: int
    name: str
    content: str
    folder: Path
    tasks: tuple[Task, ...]

    @property
    def listed(self) -> dict[str, int]:
        """Split -> clips of its list."""
        counts: dict[str, int] = {}
        for task in self.tasks:
            counts[task.shard.split] = counts.get(task.shard.split, 0) + len(task.clips)
        return counts


def pack(
    dataset: Dataset,
    out: str | os.PathLike,
    *,
    sample_rate: int = SAMPLE_RATE,
    max_seconds: float | None = None,
    workers: int | None = None,
    beam_options: Sequence[str] | None = None,
    progress: bool = True,
    shard_clips: int = SHARD_CLIPS,
) -> Path:
    """The folder below `out` that holds the packed data set; made now, completed, or found there. `read_report` tells what is in it.

    Args:
      dataset: what `read_dataset` found.
      out: a folder of data sets; TFDS calls it data_dir.
      sample_rate: Hz of the stored clips.
      max_seconds: longer clips are cut; None = at the length of the published set, if there is one; 0 = never.
      workers: decoding processes; None = one per core.
      beam_options: pack on Apache Beam with these pipeline options; `out` and the sounds must lie where its workers see them. None = here.
      progress: show a bar on the terminal; on Beam there is none.
      shard_clips: clips listed in a shard.

    Raises:
      UsageError: no clips, `out` cannot be written, or apache-beam is not installed.
      AudiojaxError: of a split no clip can be used, or decoding processes cannot be started.
    """
    if max_seconds is None:
        max_seconds = MAX_SECONDS.get(dataset.name)
    plan = _plan(dataset, Path(out).expanduser(), Settings(sample_rate, max_seconds or None), shard_clips)
    if shards.is_written(plan.folder):
        return plan.folder
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{shown(plan.folder)}: cannot be written ({error.strerror}); choose another place") from error
    shards.remove_abandoned(plan.folder)
    missing = [task for task in plan.tasks if not (task.shard.path.is_file() and _is_final(note_path(task.shard)))]
    if beam_options is not None:
        run_on_beam(partial(write_alone, settings=plan.settings), missing, beam_options)
    else:
        with counting_bar("clips", progress) as bar:
            line = bar.add_task(plan.name, total=_count(plan.tasks), completed=_count(plan.tasks) - _count(missing))
            write_tasks(missing, plan.settings, workers or os.cpu_count() or 1, lambda clips: bar.advance(line, clips))
    return _finish(plan)


def read_report(folder: str | os.PathLike) -> dict[str, Any]:
    """What a packed folder was made from and what was left out: {"splits": {name: {"listed": n, "packed": n}}, "left_out": [...], ...}.

    Its "list_hash" is that of `audiojax data check`, of the packed clips.
    """
    return json.loads((Path(folder) / REPORT).read_text(encoding="utf-8"))


def set_name(dataset: Dataset) -> str:
    """The name that TFDS knows the packed set by: that of a published set, or of a plain folder."""
    if dataset.name != "folder":
        return dataset.name
    name = re.sub(r"\W+", "_", dataset.folder.resolve().name.lower(), flags=re.ASCII).strip("_")
    return name if re.match("[a-z]", name) else "folder"


def config_name(version: str, settings: Settings, content: str, shard_clips: int = SHARD_CLIPS) -> str:
    """The folder's name, another one for other bytes: "v2.1-32000hz-30s-5ac09d31"."""
    cut = "" if settings.max_seconds is None else f"{settings.max_seconds:g}s"
    decided = hashlib.sha256(f"{content} {settings} {shard_clips}".encode()).hexdigest()[:8]
    return "-".join(filter(None, (version, f"{settings.sample_rate}hz", cut, decided)))


def content_hash(dataset: Dataset) -> str:
    """SHA-256 of the clips in their order: ids, splits, captions, and the places, sizes and middles of their sounds below the folder."""
    digest = hashlib.sha256()
    for clip in dataset.clips:
        sound = clip.sound
        place = (os.path.relpath(sound.path, dataset.folder), sound.member, sound.offset, *_glimpse(sound))
        digest.update(json.dumps((clip.id, clip.split, clip.captions, place, clip.start, clip.seconds)).encode() + b"\n")
    return digest.hexdigest()


def _glimpse(sound: Sound) -> tuple[int, str]:
    """Bytes of a sound, and the hash of some in its middle, where an edit that keeps the size, such as another level, shows."""
    size, middle = sound.size, b""
    if sound.path.is_file():  # decoding will name what is none
        with contextlib.suppress(OSError), sound.path.open("rb") as file:
            size = size if sound.member else os.fstat(file.fileno()).st_size
            file.seek(sound.offset + size // 2)
            middle = file.read(min(GLIMPSE, size - size // 2))
    return size, hashlib.sha256(middle).hexdigest()


def _plan(dataset: Dataset, out: Path, settings: Settings, shard_clips: int) -> _Plan:
    splits: dict[str, tuple[Clip, ...]] = {}
    for split, clips in dataset.splits().items():
        if _split_name(split) in splits:
            raise UsageError(f"{shown(dataset.folder)}: two splits would be called '{_split_name(split)}'; rename one of them")
        splits[_split_name(split)] = clips
    if not splits:
        raise UsageError(f"{shown(dataset.folder)}: no clips to pack; `audiojax data check` names what is wrong with its lists")
    name, content = set_name(dataset), content_hash(dataset)
    folder = out / name / config_name(dataset.version, settings, content, shard_clips) / shards.VERSION
    planned = shards.plan_shards(folder, name, {split: len(clips) for split, clips in splits.items()}, shard_clips)
    tasks = tuple(Task(shard, splits[shard.split][shard.start : shard.stop]) for shard in planned)
    return _Plan(dataset, settings, shard_clips, name, content, folder, tasks)


def _split_name(split: str) -> str:
    """The split as a part of file names."""
    return re.sub(r"\W+", "_", split)


def _count(tasks: Iterable[Task]) -> int:
    return sum(len(task.clips) for task in tasks)


def _finish(plan: _Plan) -> Path:
    """Makes the folder of shards a data set, and returns it."""
    report = _report(plan)
    path = write_whole(plan.folder / REPORT, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    try:
        _refuse_empty(report, path)
    except AudiojaxError:
        for task in plan.tasks:  # so that the next call tries again: a decoder may be installed by then
            if not shards.count_items(task.shard.path):
                note_path(task.shard).unlink(missing_ok=True)
        raise
    facts = {key: report[key] for key in ("name", "version", "layout", "list_hash", "content", "sample_rate", "max_seconds")}
    title = " ".join(filter(None, (plan.dataset.name, plan.dataset.version)))
    description = f"{title}, packed by audiojax; {REPORT} names the clips that were left out."
    settings = {"shard_items": plan.shard_clips, "description": description, "metadata": facts}
    shards.describe(plan.folder, plan.name, schema(), plan.listed, **settings)
    for task in plan.tasks:
        note_path(task.shard).unlink(missing_ok=True)
    shards.remove_abandoned(plan.folder)
    return plan.folder


def _report(plan: _Plan) -> dict[str, Any]:
    dataset, packed = plan.dataset, dict.fromkeys(plan.listed, 0)
    for task in plan.tasks:
        packed[task.shard.split] += shards.count_items(task.shard.path)
    left_out = [entry for task in plan.tasks for entry in json.loads(note_path(task.shard).read_text(encoding="utf-8"))]
    gone = {(entry["split"], entry["id"]) for entry in left_out}
    return {
        "name": dataset.name,
        "version": dataset.version,
        "layout": dataset.layout,
        "folder": shown(dataset.folder),
        "list_hash": list_hash(clip for clip in dataset.clips if (clip.split, clip.id) not in gone),
        "content": plan.content,
        "sample_rate": plan.settings.sample_rate,
        "max_seconds": plan.settings.max_seconds,
        "splits": {split: {"listed": listed, "packed": packed[split]} for split, listed in plan.listed.items()},
        "left_out": left_out,
        "faults": [{"kind": fault.kind, "where": fault.where, "detail": fault.detail} for fault in dataset.faults],
    }


def _is_final(note: Path) -> bool:
    """Whether a shard need not be tried again: it was written, and leaves nothing out for a fault of the moment."""
    try:
        reasons = {entry["reason"] for entry in json.loads(note.read_text(encoding="utf-8"))}
    except (OSError, ValueError):
        return False
    return not reasons & PASSING


def _refuse_empty(report: dict[str, Any], path: Path) -> None:
    for split, counts in report["splits"].items():
        if counts["packed"]:
            continue
        first = next(entry for entry in report["left_out"] if _split_name(entry["split"]) == split)
        why = f"the first: {first['sound']}: {first['reason']}" + (f" ({first['detail']})" if first["detail"] else "")
        raise AudiojaxError(f"{split}: none of its {counts['listed']} clips can be used, {why}\nAll are named in {shown(path)}")
