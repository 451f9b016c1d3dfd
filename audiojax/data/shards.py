"""Data sets of ArrayRecord shards that TFDS and `open_records` open; written shard by shard, so a kill costs what was under way alone."""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from audiojax.errors import UsageError
from audiojax.files import shown

VERSION = "1.0.0"
SHARD_ITEMS = 512
Examples = Callable[[str, int, int], Iterable[Mapping[str, Any]]]


def is_written(folder: str | os.PathLike) -> bool:
    """Whether a data set in `folder` is complete: what says so is written last."""
    return (Path(folder) / "dataset_info.json").is_file()


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
    folder = Path(folder)
    template = tfds.core.ShardedFileTemplate(data_dir=folder, dataset_name=name, filetype_suffix="array_record")
    infos = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for split, items in splits.items():
            starts = range(0, items, shard_items)
            of_split = template.replace(split=split)
            paths = [Path(of_split.sharded_filepath(shard_index=i, num_shards=len(starts))) for i in range(len(starts))]
            for path, start in zip(paths, starts, strict=True):
                if not path.is_file():
                    write_shard(path, features, examples(split, start, min(start + shard_items, items)))
            lengths, size = [len(ArrayRecordDataSource([str(path)])) for path in paths], sum(path.stat().st_size for path in paths)
            infos.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size, filename_template=of_split))
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
    except OSError as error:
        raise UsageError(f"{shown(folder)}: cannot be written ({error.strerror}); choose another place") from error
    return folder


def write_shard(path: Path, features: tfds.features.FeaturesDict, examples: Iterable[Mapping[str, Any]]) -> None:
    """One file of examples, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    writer = ArrayRecordWriter(str(partial), "group_size:1")
    try:
        for example in examples:
            writer.write(features.serialize_example(example))
        writer.close()
        os.replace(partial, path)
    finally:
        with contextlib.suppress(RuntimeError):
            writer.close()
        partial.unlink(missing_ok=True)
