"""Data sets of ArrayRecord shards that TFDS and `open_records` open; written shard by shard, so a kill costs what was under way alone."""

import contextlib
import glob
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from audiojax.errors import UsageError
from audiojax.files import shown

VERSION = "1.0.0"
SHARD_ITEMS = 512
OPTIONS = "group_size:1,uncompressed"  # sounds and what towers make of them hardly shrink, and are read five times as fast as zstd
Examples = Callable[[str, int, int], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Shard:
    """One file of a data set, and which items of its split it is made from.

    Attributes:
      path: the file.
      split: its split.
      start, stop: first item, and the one after the last.
    """

    path: Path
    split: str
    start: int
    stop: int


def is_written(folder: str | os.PathLike) -> bool:
    """Whether a data set in `folder` is complete: what says so is written last, and a kill may cut it."""
    try:
        return isinstance(json.loads((Path(folder) / "dataset_info.json").read_bytes()), dict)
    except (OSError, ValueError):
        return False


def write_dataset(
    folder: str | os.PathLike,
    name: str,
    features: tfds.features.FeaturesDict,
    splits: Mapping[str, int],
    examples: Examples,
    *,
    shard_items: int = SHARD_ITEMS,
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the shards that `folder` lacks, then the description of the whole; returns the folder.

    A shard is written beside its place and moved there. What decides the content must be in the folder's name: a shard that is there stays.

    Args:
      folder: of this one data set.
      name: of the data set, the beginning of every file name.
      features: of an example.
      splits: name -> items; item i of a split belongs to shard i // shard_items, whatever was written before.
      examples: (split, start, stop) -> examples of these items in order; an item may give none.
      description, metadata: kept in the folder, for people and programs.

    Raises:
      UsageError: the folder cannot be written.
    """
    remove_abandoned(folder)
    for shard in plan_shards(folder, name, splits, shard_items):
        if not shard.path.is_file():
            with open_shard(shard.path, features) as write:
                for example in examples(shard.split, shard.start, shard.stop):
                    write(example)
    return describe(folder, name, features, splits, shard_items=shard_items, description=description, metadata=metadata)


def plan_shards(folder: str | os.PathLike, name: str, splits: Mapping[str, int], shard_items: int = SHARD_ITEMS) -> list[Shard]:
    """Every shard of a data set, written or not; arguments as in `write_dataset`."""
    shards = []
    for split, items in splits.items():
        starts = range(0, items, shard_items)
        of_split = _template(folder, name).replace(split=split)
        for i, start in enumerate(starts):
            path = Path(of_split.sharded_filepath(shard_index=i, num_shards=len(starts)))
            shards.append(Shard(path, split, start, min(start + shard_items, items)))
    return shards


def describe(
    folder: str | os.PathLike,
    name: str,
    features: tfds.features.FeaturesDict,
    splits: Mapping[str, int],
    *,
    shard_items: int = SHARD_ITEMS,
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Completes a folder whose shards are all written, and returns it; arguments as in `write_dataset`.

    Raises:
      UsageError: the folder cannot be written.
    """
    folder, infos = Path(folder), []
    template = _template(folder, name)
    shards = plan_shards(folder, name, splits, shard_items)
    for split in splits:
        paths = [shard.path for shard in shards if shard.split == split]
        lengths, size = [count_items(path) for path in paths], sum(path.stat().st_size for path in paths)
        of_split = template.replace(split=split)
        infos.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size, filename_template=of_split))
    with _named_errors(folder):
        tfds.folder_dataset.write_metadata(
            data_dir=folder,
            features=features,
            split_infos=infos,
            version=VERSION,
            filename_template=template,
            check_data=False,
            description=description,
            metadata=tfds.core.MetadataDict(metadata or {}),
        )
    return folder


def count_items(path: Path) -> int:
    """How many examples a written shard holds."""
    return len(ArrayRecordDataSource([str(path)]))


@contextlib.contextmanager
def open_shard(path: Path, features: tfds.features.FeaturesDict) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What writes an example into a new file; the file gets its place when the block ends well, and is gone otherwise. Its folder is made.

    Raises:
      UsageError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    with _named_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = ArrayRecordWriter(str(partial), OPTIONS)
    serializer = ExampleSerializer(features.get_serialized_info())

    def write(example: Mapping[str, Any]) -> None:
        proto = serializer.get_tf_example(features.encode_example(example))
        data = proto.SerializeToString(deterministic=True)  # in the order of the fields, not in that of each process's hashes
        with _named_errors(path.parent):
            writer.write(data)

    try:
        yield write
        with _named_errors(path.parent):
            writer.close()
            os.replace(partial, path)
    finally:
        with contextlib.suppress(RuntimeError):
            writer.close()
        partial.unlink(missing_ok=True)


def remove_abandoned(folder: str | os.PathLike) -> None:
    """Removes the unfinished files of processes of this machine that have ended."""
    for partial in Path(folder).glob(f".*.{glob.escape(socket.gethostname())}.*"):
        writer = partial.suffix[1:]
        if writer.isdecimal() and not _is_running(int(writer)):
            partial.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _template(folder: str | os.PathLike, name: str) -> tfds.core.ShardedFileTemplate:
    return tfds.core.ShardedFileTemplate(data_dir=Path(folder), dataset_name=name, filetype_suffix="array_record")


@contextlib.contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    """Errors of the system, and of the ArrayRecord writer, which raises RuntimeError for them, as a UsageError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).split(";")[0]
        raise UsageError(f"{shown(folder)}: cannot be written ({reason}); choose another place") from error
