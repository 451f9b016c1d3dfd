"""Packed recordings: the same bytes whoever packs them, what cannot be used named, and readable by all that reads data sets."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from audiojax.data import recordings, recordings_shard
from audiojax.data.check import list_hash
from audiojax.data.layouts.clips import Clip, Dataset, Fault, Sound
from audiojax.data.recordings import Settings, config_name, content_hash, pack, read_report
from audiojax.data.sources import open_records
from audiojax.errors import AudiojaxError, UsageError
from tests.data.fatal_paths import FatalPath

RATE = 8_000  # Hz, of the sounds and of most packed sets here


def tone(i, seconds=0.5):
    return np.round(3_000 * np.sin(np.arange(round(seconds * RATE)) * (0.05 + 0.01 * i))).astype(np.int16)


def write_sounds(folder: Path, count: int, seconds=0.5) -> Dataset:
    """A data set of numbered tones, the first two thirds of it for training."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for i in range(count):
        soundfile.write(folder / f"{i:03d}.wav", tone(i, seconds), RATE)
        split = "train" if i < 2 * count / 3 else "val"
        clips.append(Clip(f"{i:03d}", split, (f"tone {i}", f"a tone, number {i}"), Sound(folder / f"{i:03d}.wav")))
    return Dataset(folder, "folder", "", "tones", tuple(clips))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("sounds") / "tones", 9)


def packed(dataset, out, **settings):
    return pack(dataset, out, **{"sample_rate": RATE, "workers": 1, "progress": False, "shard_clips": 4} | settings)


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory):
    return packed(dataset, tmp_path_factory.mktemp("packed"))


def digests(folder: Path) -> dict[str, str]:
    """File name -> hash of its bytes."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_records_are_the_clips_in_their_order(dataset, folder):
    for split, clips in dataset.splits().items():
        records = open_records(folder.parents[1], split)
        assert [records[i]["id"] for i in range(len(records))] == [clip.id for clip in clips]
        for i, clip in enumerate(clips):
            np.testing.assert_array_equal(records[i]["audio"], tone(int(clip.id)))
            assert records.facts(i)["captions"] == list(clip.captions)
            assert (records[i]["sample_rate"], records[i]["scene"]) == (RATE, "")


def test_tfds_opens_it_by_folder_and_by_name_and_tells_what_it_is_made_from(dataset, folder):
    of_folder = tfds.builder_from_directory(str(folder)).info
    of_name = tfds.builder(f"tones/{folder.parent.name}", data_dir=str(folder.parents[2])).info
    assert of_folder.splits["train"].shard_lengths == of_name.splits["train"].shard_lengths == [4, 2]
    assert of_folder.metadata["list_hash"] == list_hash(dataset.clips) == read_report(folder)["list_hash"]
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_any_number_of_workers_makes_the_same_bytes(dataset, folder, tmp_path):
    assert digests(packed(dataset, tmp_path, workers=3)) == digests(folder)


def test_a_finished_set_is_left_as_it_is(dataset, folder):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert packed(dataset, folder.parents[2]) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_what_decides_the_bytes_decides_the_folder(tmp_path):
    dataset = write_sounds(tmp_path / "tones", 3)
    first, *rest = dataset.clips

    def name(clip=first, sample_rate=RATE, max_seconds=None, shard_clips=4, clips=None):
        content = content_hash(replace(dataset, clips=clips or (clip, *rest)))
        return config_name("v1", Settings(sample_rate, max_seconds), content, shard_clips)

    names = [name(), name(max_seconds=0.25), name(sample_rate=4_000), name(shard_clips=5), name(clips=rest)]
    changes = ({"id": "x"}, {"split": "val"}, {"captions": ("x",)}, {"start": 0.1}, {"seconds": 0.1}, {"sound": rest[0].sound})
    names += [name(replace(first, **change)) for change in changes]
    soundfile.write(first.sound.path, tone(0, 0.6), RATE)
    names.append(name())
    size = first.sound.path.stat().st_size
    soundfile.write(first.sound.path, tone(0, 0.6) / 2, RATE)
    names.append(name())
    assert first.sound.path.stat().st_size == size
    soundfile.write(first.sound.path, tone(0, 0.6), RATE)
    assert len(set(names)) == len(names)
    elsewhere = write_sounds(tmp_path / "moved" / "tones", 3)
    soundfile.write(elsewhere.clips[0].sound.path, tone(0, 0.6), RATE)
    assert content_hash(elsewhere) == content_hash(dataset)


def test_a_kill_costs_one_shard_and_leaves_no_trace(tmp_path):
    dataset = write_sounds(tmp_path / "tones", 30)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom tests.data.test_recordings import packed, write_sounds\n"
        "packed(write_sounds(Path(sys.argv[1]), 30), sys.argv[2], workers=2, shard_clips=2)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    child = subprocess.Popen([sys.executable, str(script), str(dataset.folder), str(tmp_path / "out")], env=environment)
    try:
        while not (made := [path for path in (tmp_path / "out").rglob("*.array_record-*") if path.name[0] != "."]):
            assert child.poll() is None
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        assert child.wait() == -signal.SIGKILL
    made = {path: path.stat().st_mtime_ns for path in made}
    folder = next(iter(made)).parent
    assert not (folder / "dataset_info.json").exists()
    assert packed(dataset, tmp_path / "out", workers=1, shard_clips=2) == folder
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert digests(folder) == digests(packed(dataset, tmp_path / "whole", workers=2, shard_clips=2))


def test_clips_are_cut_where_the_list_and_the_limit_say(dataset, tmp_path):
    whole = dataset.clips[0]
    clips = (
        replace(whole, id="a", start=0.125),
        replace(whole, id="b", seconds=0.125),
        replace(whole, id="c", start=0.25, seconds=10.0),
    )
    records = open_records(packed(replace(dataset, clips=clips), tmp_path, max_seconds=0.3), "train")
    expected = (tone(0)[1_000:3_400], tone(0)[:1_000], tone(0)[2_000:])
    for i, audio in enumerate(expected):
        np.testing.assert_array_equal(records[i]["audio"], audio)


@pytest.mark.parametrize(("asked", "seconds"), [(None, 10.0), (0, None), (0.25, 0.25)])
def test_published_sets_bring_their_length(dataset, tmp_path, asked, seconds):
    folder = packed(replace(dataset, name="audiocaps", version="v1", clips=dataset.clips[:1]), tmp_path, max_seconds=asked)
    assert read_report(folder)["max_seconds"] == seconds
    assert folder.relative_to(tmp_path).parts[0] == "audiocaps"
    assert folder.parent.name.startswith(f"v1-8000hz-{seconds:g}s-" if seconds else "v1-8000hz-")


def test_clips_are_resampled(dataset, tmp_path):
    record = open_records(packed(dataset, tmp_path, sample_rate=16_000), "train")[3]
    assert (len(record["audio"]), record["sample_rate"]) == (8_000, 16_000)
    inner = slice(500, 3_500)  # the ends ring
    np.testing.assert_allclose(record["audio"][::2][inner], tone(3)[inner], atol=40)


def test_clips_that_cannot_be_used_are_named(tmp_path):
    dataset = write_sounds(tmp_path / "tones", 9)
    paths = [clip.sound.path for clip in dataset.clips]
    paths[0].unlink()
    paths[1].write_bytes(b"RIFF")
    paths[8].write_bytes(b"")
    dataset = replace(dataset, faults=(Fault("empty_caption", "list.csv:7"),))
    folder = packed(dataset, tmp_path / "out", workers=2)
    report = read_report(folder)
    assert report["splits"] == {"train": {"listed": 6, "packed": 4}, "val": {"listed": 3, "packed": 2}}
    assert [(entry["split"], entry["id"], entry["reason"]) for entry in report["left_out"]] == [
        ("train", "000", "missing"),
        ("train", "001", "undecodable"),
        ("val", "008", "empty"),
    ]
    assert report["left_out"][0]["sound"] == str(paths[0])
    assert report["faults"] == [{"kind": "empty_caption", "where": "list.csv:7", "detail": ""}]
    assert report["list_hash"] == list_hash(dataset.clips[2:8])
    assert [open_records(folder, "train")[i]["id"] for i in range(4)] == ["002", "003", "004", "005"]


def test_a_shard_and_a_split_of_which_nothing_is_left(tmp_path):
    dataset = write_sounds(tmp_path / "tones", 9)
    for clip in dataset.clips[:4]:  # the whole first shard
        clip.sound.path.unlink()
    assert len(open_records(packed(dataset, tmp_path / "out"), "train")) == 2
    for clip in dataset.clips[6:]:
        clip.sound.path.unlink()
    with pytest.raises(
        AudiojaxError, match=r"val: none of its 3 clips can be used, the first: .*006\.wav: missing \(no such file\)"
    ) as error:
        packed(dataset, tmp_path / "out")
    report = Path(str(error.value).rsplit(" ", 1)[1])
    assert len(json.loads(report.read_text())["left_out"]) == 7
    assert not (report.parent / "dataset_info.json").exists()


@pytest.mark.parametrize(("reasons", "final"), [([], True), (["undecodable", "truncated"], True), (["truncated", "timeout"], False)])
def test_what_was_left_out_for_the_moment_is_tried_again(tmp_path, reasons, final):
    note = tmp_path / "note.json"
    assert not recordings._is_final(note)
    note.write_text(json.dumps([{"reason": reason} for reason in reasons]))
    assert recordings._is_final(note) is final


@pytest.mark.slow
def test_clips_that_kill_or_hang_their_process_cost_only_themselves(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(recordings_shard, "TIMEOUT", 3.0)
    clips = list(dataset.clips)
    for number, name in ((0, "abort.wav"), (2, "hang.wav"), (5, "abort.wav")):
        clips[number] = replace(clips[number], sound=Sound(FatalPath(dataset.folder / name)))
    done = []
    bar = SimpleNamespace(add_task=lambda *_, **__: 0, advance=lambda _, clips: done.append(clips))
    monkeypatch.setattr(recordings, "counting_bar", lambda *_: nullcontext(bar))
    folder = packed(replace(dataset, clips=tuple(clips)), tmp_path, workers=2)
    left_out = [(entry["id"], entry["reason"], entry["detail"]) for entry in read_report(folder)["left_out"]]
    assert left_out == [
        ("000", "crashed_decoder", "signal 6"),
        ("002", "timeout", "no progress in 3 s"),
        ("005", "crashed_decoder", "signal 6"),
    ]
    assert [open_records(folder, "train")[i]["id"] for i in range(3)] == ["001", "003", "004"]
    assert sum(done) == len(clips)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_sounds_inside_archives(dataset, tmp_path):
    with tarfile.open(tmp_path / "tones.tar", "w") as tar:
        for clip in dataset.clips[:3]:
            tar.add(clip.sound.path, clip.sound.path.name)
    with tarfile.open(tmp_path / "tones.tar") as tar:
        places = {member.name: Sound(tmp_path / "tones.tar", member.name, member.offset_data, member.size) for member in tar}
    places["001.wav"] = replace(places["001.wav"], size=500)  # a list that is wrong about it
    clips = tuple(replace(clip, sound=places[clip.sound.path.name]) for clip in dataset.clips[:3])
    folder = packed(replace(dataset, clips=clips), tmp_path / "out", workers=2)
    records = open_records(folder, "train")
    for i, number in enumerate((0, 2)):
        np.testing.assert_array_equal(records[i]["audio"], tone(number))
    (left_out,) = read_report(folder)["left_out"]
    assert left_out["sound"] == f"{tmp_path / 'tones.tar'}:001.wav"


def test_what_cannot_be_packed_is_said(dataset, tmp_path):
    with pytest.raises(UsageError, match="no clips to pack"):
        packed(replace(dataset, clips=()), tmp_path)
    twins = (replace(dataset.clips[0], split="a b"), replace(dataset.clips[1], split="a.b"))
    with pytest.raises(UsageError, match="two splits would be called 'a_b'"):
        packed(replace(dataset, clips=twins), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        packed(dataset, tmp_path / "file")


def test_a_shard_that_cannot_be_written_ends_the_packing(dataset, folder, tmp_path):
    copy = tmp_path / folder.relative_to(folder.parents[2])
    (copy / "tones-train.array_record-00000-of-00002").mkdir(parents=True)
    with pytest.raises(AudiojaxError, match=f"^{copy}: cannot be written"):
        packed(dataset, tmp_path)


@pytest.mark.parametrize(("folder", "name"), [("Bells & Gongs", "bells_gongs"), ("été", "t"), ("2024", "folder"), ("__", "folder")])
def test_plain_folders_give_their_name(folder, name):
    assert recordings.set_name(Dataset(Path("/data") / folder, "folder", "", "", ())) == name
    assert recordings.set_name(Dataset(Path("/data") / folder, "clotho", "v2.1", "", ())) == "clotho"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_beam_makes_the_same_bytes(dataset, folder, tmp_path):
    pytest.importorskip("apache_beam")
    options = ["--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    assert digests(packed(dataset, tmp_path, beam_options=options)) == digests(folder)


def test_beam_that_is_not_installed_is_named(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("audiojax.data.recordings_beam.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "audiojax\[beam\]"'):
        packed(dataset, tmp_path, beam_options=[])
