"""`check` on every layout with its planted faults: each is found and named, and nothing else is."""

from collections import Counter

import pytest

from audiojax.data.check import check
from tests.data.layouts.making import LAYOUTS


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
