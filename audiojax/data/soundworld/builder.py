"""SoundWorld on disk: a TFDS builder that writes ArrayRecord, without TensorFlow, from a pool of synthesising processes.

`build` is the entry point. A finished folder is complete and never changes; an interrupted build leaves nothing that looks finished.
Each record is what `SceneSource` returns at the same index of the same split.
"""

import contextlib
import dataclasses
import io
import logging
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from pathlib import Path

import tensorflow_datasets as tfds

from audiojax.data.shards import is_written
from audiojax.data.soundworld import draw, lexicon, scenes
from audiojax.data.soundworld.source import SceneSource
from audiojax.data.sources import schema
from audiojax.errors import AudiojaxError, UsageError
from audiojax.progress import counting_bar

VERSION = "1.0.0"
CHUNK = 24  # clips a worker makes at a time
TEXT_BYTES = 4_096  # a clip's captions, truth and framing, generously
STALE = 24 * 3600.0  # s after which an unfinished folder belongs to nobody


@dataclasses.dataclass
class WorldConfig(tfds.core.BuilderConfig):
    """Everything that decides the content of a build."""

    size: str = "mini"
    domain: str = "studio"
    seed: int = 0
    sample_rate: int = 16_000
    seconds: float = draw.SECONDS
    splits: tuple[str, ...] = scenes.SPLITS

    def source(self, split: str) -> SceneSource:
        """The records of one split, in memory."""
        return SceneSource(split, self.size, self.domain, self.seed, self.sample_rate, self.seconds)


def world_config(size: str, domain: str, seed: int, sample_rate: int, seconds: float, splits: Sequence[str] | None) -> WorldConfig:
    """A config whose name tells what differs from the defaults: "mini-studio", "base-field-s1-32000hz-10.24s-train+val"."""
    unknown = [split for split in splits or () if split not in (*scenes.SPLITS, "datastore")]
    if unknown:
        raise UsageError(f"SoundWorld split {unknown[0]!r}: use some of {', '.join((*scenes.SPLITS, 'datastore'))}")
    wanted = set(splits or scenes.SPLITS) | ({"train", "unseen"} if "datastore" in (splits or ()) else set())
    chosen = tuple(split for split in scenes.SPLITS if split in wanted)
    name = f"{size}-{domain}" + (f"-s{seed}" if seed else "") + (f"-{sample_rate}hz" if sample_rate != 16_000 else "")
    name += (f"-{seconds:g}s" if seconds != draw.SECONDS else "") + ("" if chosen == scenes.SPLITS else "-" + "+".join(chosen))
    return WorldConfig(name=name, size=size, domain=domain, seed=seed, sample_rate=sample_rate, seconds=seconds, splits=chosen)


class SoundWorld(tfds.core.GeneratorBasedBuilder):
    """Synthesised audio-caption scenes with known truth."""

    name = "soundworld"
    VERSION = tfds.core.Version(VERSION)
    code_path = None  # no checksums or citation files beside this module (and their look-up wants a package that TFDS does not ask for)

    def __init__(self, *, data_dir: str, config: WorldConfig, pool: Executor | None = None, advance: Callable[[], None] = lambda: None):
        self._pool, self._advance = pool, advance
        super().__init__(data_dir=data_dir, config=config, version=VERSION, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        description = "SoundWorld: scenes of one to three synthesised sounds with five captions and their truth."
        return tfds.core.DatasetInfo(builder=self, description=description, features=schema(), disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.builder_config.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        for index, record in enumerate(synthesise(self.builder_config.source(split), self._pool)):
            self._advance()
            yield index, record


def synthesise(source: SceneSource, pool: Executor | None) -> Iterator[dict]:
    """Records of a source in order, made by a pool of processes (None = in this one); the result does not depend on it."""
    starts = range(0, len(source), CHUNK)
    if pool is None:
        return chain.from_iterable(map(source.span, starts, (start + CHUNK for start in starts)))
    return chain.from_iterable(pool.map(source.span, starts, (start + CHUNK for start in starts)))


def bytes_needed(config: WorldConfig) -> int:
    """Disk space in bytes that a build takes, rounded up generously."""
    clips = sum(len(config.source(split)) for split in config.splits)
    return clips * (2 * round(config.seconds * config.sample_rate) + TEXT_BYTES)


def build(
    size: str,
    domain: str,
    data_dir: str | Path,
    seed: int = 0,
    sample_rate: int = 16_000,
    seconds: float = draw.SECONDS,
    splits: Sequence[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Folder of a finished build below `data_dir`, made now or found there; `audiojax.data.sources.open_records` reads it.

    Args:
      size, domain, seed, sample_rate, seconds: as in `SceneSource`.
      splits: which to store; None = all. "datastore" stands for train and unseen.
      workers: synthesising processes; None = one per core.
      progress: show a bar on the terminal.
    Raises:
      UsageError: values that `SceneSource` refuses, or a `data_dir` that cannot be written.
      AudiojaxError: too little free space.
    """
    config = world_config(size, domain, seed, sample_rate, seconds, splits)
    if domain not in lexicon.DOMAINS:
        raise UsageError(f"SoundWorld domain {domain!r}: use {' or '.join(lexicon.DOMAINS)}")
    root = Path(data_dir).expanduser().resolve()
    for candidate in (config, world_config(size, domain, seed, sample_rate, seconds, None)):
        folder = root / SoundWorld.name / candidate.name / VERSION
        if is_written(folder):
            return folder
    needed = bytes_needed(config)
    try:
        root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free
    except OSError as error:
        raise UsageError(f"{root}: cannot be written ({error.strerror}); name another folder") from None
    if not os.access(root, os.W_OK):
        raise UsageError(f"{root}: cannot be written; name another folder")
    if free < needed:
        raise AudiojaxError(f"{root}: SoundWorld {config.name} needs {needed:,} bytes, {free:,} are free; make room or name another folder")
    _sweep(root / SoundWorld.name / config.name)
    clips = sum(len(config.source(split)) for split in config.splits)
    with counting_bar("clips", progress) as bar, _pool(workers, clips) as pool, tempfile.TemporaryDirectory() as nothing, _quiet():
        task = bar.add_task(f"SoundWorld {config.name}", total=clips)
        builder = SoundWorld(data_dir=str(root), config=config, pool=pool, advance=lambda: bar.advance(task))
        try:
            builder.download_and_prepare(download_dir=nothing, file_format="array_record")
        except BrokenProcessPool:
            raise AudiojaxError(
                "SoundWorld: a worker process ended early; guard your script with `if __name__ == '__main__':` or use workers=1"
            ) from None
        except FileExistsError:  # another process finished the same build first
            if not is_written(builder.data_path):
                raise
    return Path(builder.data_path)


@contextlib.contextmanager
def _pool(workers: int | None, clips: int) -> Iterator[Executor | None]:
    """A pool of spawned processes, or None where one process does: few clips, one core, workers=1. Unfinished work is dropped."""
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers <= 1 or clips < 4 * CHUNK:
        yield None
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS's own bars, banners and remarks off: `build` shows one bar and raises what goes wrong."""
    logger, level = logging.getLogger("absl"), logging.getLogger("absl").level
    tfds.disable_progress_bar()
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        tfds.enable_progress_bar()


def _sweep(folder: Path) -> None:
    """Remove what a killed build left behind a day ago or earlier."""
    for path in folder.glob("*incomplete*"):
        if path.is_dir() and time.time() - path.stat().st_mtime > STALE:
            shutil.rmtree(path, ignore_errors=True)
