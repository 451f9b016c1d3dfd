"""Data sets written shard by shard: whole, readable by TFDS, and taken up again after an interruption."""

import os
import socket
import subprocess

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource

from audiojax.data.shards import is_written, remove_abandoned, write_dataset
from audiojax.errors import UsageError

FEATURES = tfds.features.FeaturesDict(
    {"values": tfds.features.Tensor(shape=(None, 3), dtype=np.float32, encoding=tfds.features.Encoding.BYTES), "id": tfds.features.Text()}
)


def example(split, i):
    return {"values": np.full((i % 3, 3), i, np.float32), "id": f"{split} {i}"}


def all_of(folder, split):
    builder = tfds.builder_from_directory(str(folder))
    source = ArrayRecordDataSource([str(path) for path in builder.info.splits[split].filepaths])
    return [builder.info.features.deserialize_example_np(source[i]) for i in range(len(source))]


def test_what_is_written_is_read(tmp_path):
    def examples(split, start, stop):
        return (example(split, i) for i in range(start, stop) if i != 4)  # an item may give none

    folder = write_dataset(tmp_path / "d", "toy", FEATURES, {"train": 7, "val": 2}, examples, shard_items=3, metadata={"from": "here"})
    assert is_written(folder)
    found = all_of(folder, "train")
    assert [x["id"].decode() for x in found] == [f"train {i}" for i in range(7) if i != 4]
    for x, i in zip(found, (0, 1, 2, 3, 5, 6), strict=True):
        np.testing.assert_array_equal(x["values"], example("train", i)["values"])
    info = tfds.builder_from_directory(str(folder)).info
    assert info.splits["train"].shard_lengths == [3, 2, 1]
    assert info.splits["val"].num_examples == 2
    assert info.metadata["from"] == "here"
    (folder / "dataset_info.json").write_text((folder / "dataset_info.json").read_text()[:-9])  # a kill while it was written
    assert not is_written(folder)
    assert is_written(write_dataset(tmp_path / "d", "toy", FEATURES, {"train": 7, "val": 2}, examples, shard_items=3))


def test_finished_shards_are_kept_after_an_interruption(tmp_path):
    asked = []

    def examples(split, start, stop):
        asked.append(start)
        for i in range(start, stop):
            if len(asked) == 2 and i == 4:
                raise KeyboardInterrupt
            yield example(split, i)

    arguments = (tmp_path / "d", "toy", FEATURES, {"train": 7}, examples)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(*arguments, shard_items=3)
    assert not is_written(tmp_path / "d")
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["toy-train.array_record-00000-of-00003"]
    write_dataset(*arguments, shard_items=3)
    assert asked == [0, 3, 3, 6]
    assert len(all_of(tmp_path / "d", "train")) == 7


def test_files_of_ended_processes_go_and_those_of_running_ones_stay(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    names = [f".toy.{socket.gethostname()}.{process}" for process in (ended.pid, os.getpid())] + [f".toy.elsewhere.{ended.pid}"]
    for name in names:
        (tmp_path / name).write_text("")
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file/d: cannot be written"):
        write_dataset(tmp_path / "file" / "d", "toy", FEATURES, {"train": 1}, lambda *_: [])
