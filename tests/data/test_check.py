"""`check` on every layout with its planted faults: each is found and named, and nothing else is."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from audiojax.data.check import check, list_hash
from audiojax.data.layouts.clips import Clip, Sound
from tests.data.layouts.making import LAYOUTS
from tests.data.layouts.planting import TRUNCATED, put, tone


def named(faults):
    return Counter((fault.kind, fault.where) for fault in faults)


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_every_planted_fault_is_found_and_nothing_else(make, tmp_path):
    planted = make(tmp_path / "set" / "here")
    report = check(tmp_path / "set" / "here", workers=1)
    dataset = report.dataset
    assert " ".join(filter(None, (dataset.name, dataset.version))) == planted.name
    assert dataset.layout == planted.layout
    found = {}
    for clip in report.clips:
        found.setdefault(clip.split, {})[clip.id] = list(clip.captions)
    assert found == planted.clips
    assert named(report.faults) == Counter(planted.faults)
    assert named(report.warnings) == Counter(planted.warnings)
    assert {split.split: split.found for split in report.splits if split.found} == {split: len(clips) for split, clips in found.items()}


def test_the_list_hash_depends_on_the_clips_and_not_on_their_order():
    sound = Sound(Path("a.wav"))
    clips = [Clip("a", "train", ("one", "two"), sound), Clip("b", "train", ("three",), sound)]
    first = list_hash(clips)
    assert first == list_hash([clips[1], replace(clips[0], captions=("two", "one"), sound=Sound(Path("elsewhere.flac")))])
    others = [
        clips[:1],
        [clips[0], replace(clips[1], id="c")],
        [clips[0], replace(clips[1], split="test")],
        [clips[0], replace(clips[1], captions=("four",))],
        [replace(clips[0], captions=("one",)), replace(clips[1], captions=("two", "three"))],
    ]
    assert len({first, *map(list_hash, others)}) == 6


def test_fast_leaves_the_sounds_alone(tmp_path):
    put(tmp_path / "train" / "a.wav", TRUNCATED)
    put(tmp_path / "test" / "a.wav", b"")
    report = check(tmp_path, fast=True)
    assert not report.decoded
    assert [clip.id for clip in report.clips] == ["test/a", "train/a"]
    assert (report.faults, report.seconds) == ((), 0)
    assert [split.split for split in report.splits] == ["train", "test"]
    assert check(tmp_path, workers=1).clips == ()


def test_lengths_are_of_clips_and_expected_splits_are_shown(tmp_path):
    rows = [json.dumps({"audio_filepath": "a.wav", "text": f"part {start}", "offset": start, "duration": 2}) for start in (0, 2, 4)]
    put(tmp_path / "clotho" / "development.jsonl", "\n".join(rows))
    put(tmp_path / "clotho" / "a.wav", tone(200, seconds=5))
    report = check(tmp_path, workers=1, min_seconds=1.5)
    train, val, test = report.splits
    assert (train.split, train.found, train.expected, train.captions, train.seconds) == ("train", 3, 3_839, 3, (1.0, 2.0, 2.0))
    assert train.histogram() == [0, 1, 2, 0, 0, 0, 0, 0]
    assert (val.found, val.expected, test.found, test.expected) == (0, 1_045, 0, 1_045)
    assert named(report.warnings) == Counter([("too_short", "clotho/a.wav")])
    assert report.seconds == 5
