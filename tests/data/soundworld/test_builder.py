"""The stored build is the in-memory source, whole or not there, and reads back through `open_records`."""

import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from audiojax.data.soundworld import builder
from audiojax.data.soundworld.source import SceneSource
from audiojax.data.sources import find_dataset, open_records
from audiojax.errors import AudiojaxError, UsageError

SPLITS = ("train", "unseen", "probe_order")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("worlds")
    return builder.build("0.004", "field", root, splits=SPLITS, workers=1, progress=False)


def same(a: dict, b: dict) -> bool:
    return np.array_equal(a["audio"], b["audio"]) and a["audio"].dtype == b["audio"].dtype and all(a[k] == b[k] for k in a if k != "audio")


@pytest.mark.parametrize("split", [*SPLITS, "datastore"])
def test_stored_records_equal_the_source(folder, split):
    records, source = open_records(folder, split), SceneSource(split, "0.004", "field")
    assert len(records) == len(source)
    for index in (0, len(source) // 2, len(source) - 1):
        assert same(records[index], source[index])
    with pytest.raises(IndexError):
        records[len(source)]


def test_facts_are_read_without_the_audio(folder, monkeypatch):
    records, source = open_records(folder, "datastore"), SceneSource("datastore", "0.004", "field")
    decoded = []
    decode = tfds.features.Tensor.decode_example_np
    monkeypatch.setattr(tfds.features.Tensor, "decode_example_np", lambda self, x: decoded.append(self.np_dtype) or decode(self, x))
    assert [records.facts(i) for i in range(len(records))] == [source.facts(i) for i in range(len(source))]
    assert np.int16 not in decoded
    records[0]
    assert np.int16 in decoded
    with pytest.raises(IndexError):
        records.facts(len(records))


def test_records_travel_to_worker_processes(folder):
    records = open_records(folder.parent, "train")
    assert same(pickle.loads(pickle.dumps(records))[1], records[1])


def test_a_second_build_reuses_the_first(folder):
    stamp = (folder / "dataset_info.json").stat().st_mtime_ns
    again = builder.build("0.004", "field", folder.parents[2], splits=SPLITS, progress=False)
    assert again == folder
    assert (folder / "dataset_info.json").stat().st_mtime_ns == stamp


def test_worker_processes_make_the_same_records(tmp_path):
    config = builder.world_config("0.02", "studio", 3, 8_000, 3.84, ["train"])
    assert config.name == "0.02-studio-s3-8000hz-train"
    path = builder.build("0.02", "studio", tmp_path, seed=3, sample_rate=8_000, splits=["train"], workers=2, progress=False)
    records, source = open_records(path, "train"), SceneSource("train", "0.02", seed=3, sample_rate=8_000)
    assert len(records) == 120
    assert all(same(records[index], source[index]) for index in (0, 24, 119))


def test_too_little_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(AudiojaxError, match=r"needs [\d,]+ bytes, 1,000 are free") as error:
        builder.build("mini", "studio", tmp_path, progress=False)
    assert str(tmp_path) in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_failing_build_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    def span(self, start, stop):
        raise OSError("disk full")

    monkeypatch.setattr(SceneSource, "span", span)
    with pytest.raises(OSError, match="disk full"):
        builder.build("0.004", "studio", tmp_path, splits=["train"], workers=1, progress=False)
    assert not list(tmp_path.rglob("dataset_info.json"))
    with pytest.raises(UsageError, match="no built dataset"):
        open_records(tmp_path, "train")


def test_missing_things_are_named(folder, tmp_path):
    with pytest.raises(UsageError, match="no split 'tset'; it holds probe_order, train, unseen"):
        open_records(folder, "tset")
    with pytest.raises(UsageError, match="no such folder"):
        open_records(tmp_path / "nowhere", "train")
    with pytest.raises(UsageError, match="domain"):
        builder.build("mini", "moon", tmp_path)
    with pytest.raises(UsageError, match="split 'tset'"):
        builder.build("mini", "studio", tmp_path, splits=["tset"])
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        builder.build("mini", "studio", blocker / "below")


def test_several_datasets_below_one_folder_must_be_named(folder, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dataset_info.json").write_text("{}")
    with pytest.raises(UsageError, match="holds 2 datasets; name one: one, two"):
        find_dataset(tmp_path)


def test_a_lost_shard_and_a_foreign_schema_are_named(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    next(copy.glob("*train*")).unlink()
    with pytest.raises(AudiojaxError, match="build the dataset again"):
        open_records(copy, "train")
    features = json.loads((copy / "features.json").read_text())
    del features["featuresDict"]["features"]["captions"]
    (copy / "features.json").write_text(json.dumps(features))
    with pytest.raises(UsageError, match="no field 'captions'"):
        open_records(copy, "unseen")


def test_reading_needs_no_jax(folder):
    read = f"from audiojax.data.sources import open_records; open_records({str(folder)!r}, 'train')[0]"
    code = f"import sys; {read}; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
