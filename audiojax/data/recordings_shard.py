"""One shard of packed recordings: clips decoded, rounded and written by a child process, which a clip may kill without harm to the rest.

The child imports this module, and it starts as fast as this imports: what plans and describes a whole set is in `recordings`.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from audiojax.audio import worker
from audiojax.audio.pool import run_isolated
from audiojax.audio.reasons import AudioFileError, Reason
from audiojax.data.layouts.clips import Clip
from audiojax.data.layouts.decoding import decode_clip
from audiojax.data.layouts.sounds import name_of
from audiojax.data.shards import Shard, open_shard
from audiojax.data.sources import schema
from audiojax.data.transforms import to_int16
from audiojax.errors import AudiojaxError
from audiojax.files import shown, write_whole

TIMEOUT = 60.0  # s that a clip may take: enough for the longest on a busy machine, so that the same clips are left out everywhere


@dataclass(frozen=True)
class Settings:
    """How a clip becomes a record.

    Attributes:
      sample_rate: Hz.
      max_seconds: clips are cut there; None = not at all.
    """

    sample_rate: int
    max_seconds: float | None


@dataclass(frozen=True)
class Task:
    """One shard.

    Attributes:
      shard: the file.
      clips: what it is made from, in order.
      fatal: number of a clip -> (reason, detail), of those whose decoding kills a process or never ends.
    """

    shard: Shard
    clips: tuple[Clip, ...]
    fatal: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    def __str__(self) -> str:  # by which the pool names it
        return str(self.shard.path)


def write_tasks(tasks: Sequence[Task], settings: Settings, workers: int, advance: Callable[[int], None] = lambda clips: None) -> None:
    """Writes the shards of `tasks`, each in one child process; `advance` is told how many clips are done, or have to be done again.

    Where a clip kills its child or hangs, its shard is written again without it.
    """
    while tasks:
        again, done = [], 0
        with contextlib.closing(run_isolated(partial(_write, settings=settings), tasks, workers=workers, timeout=TIMEOUT)) as events:
            for task, kind, value in events:
                if kind == worker.PAYLOAD:
                    done += 1
                    advance(1)
                    continue
                if kind == worker.BAD:
                    if value.reason not in (Reason.CRASHED_DECODER, Reason.TIMEOUT) or done == len(task.clips):
                        raise AudiojaxError(value.detail.removeprefix("UsageError: "))  # the child could not write
                    again.append(replace(task, fatal={**task.fatal, done: (str(value.reason), value.detail)}))
                    advance(-done)
                done = 0
        tasks = again


def write_alone(task: Task, settings: Settings) -> None:
    """Writes one shard, in one child process."""
    write_tasks([task], settings, workers=1)


def _write(task: Task, *, settings: Settings) -> Iterator[None]:
    """Writes a shard, and beside it, before it gets its place, what it leaves out; yields when a clip is done."""
    left_out = []
    with open_shard(task.shard.path, schema()) as write:
        for number, clip in enumerate(task.clips):
            try:
                if number in task.fatal:
                    raise AudioFileError(name_of(clip.sound), *task.fatal[number])
                audio = to_int16(decode_clip(clip, settings.sample_rate, settings.max_seconds).samples)
            except Exception as error:  # decoders raise what they like
                bad = worker.why_not(error, name_of(clip.sound))
                place = {"split": clip.split, "id": clip.id, "sound": shown(name_of(clip.sound))}
                left_out.append(place | {"reason": str(bad.reason), "detail": bad.detail})
            else:
                texts = {"id": clip.id, "captions": list(clip.captions), "scene": ""}
                write({"audio": audio, "sample_rate": settings.sample_rate} | texts)
            yield
        write_whole(note_path(task.shard), json.dumps(left_out))


def note_path(shard: Shard) -> Path:
    """The file that says which clips a written shard leaves out, and why; it goes when the set is complete."""
    return shard.path.with_name(f".{shard.path.name}.left_out.json")
