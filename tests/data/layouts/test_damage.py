"""Lists and archives with bytes changed, lost and added anywhere: faults, or one sentence, never a crash."""

import contextlib
import random

import pytest

from audiojax.audio.reasons import AudioFileError
from audiojax.data.layouts.read import read_dataset
from audiojax.data.layouts.sounds import SoundReader
from audiojax.errors import UsageError
from audiojax.files import shown
from tests.data.layouts.making import LAYOUTS

LISTS = (".csv", ".json", ".jsonl", ".tar", ".parquet", ".txt")


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one kind of damage."""
    changed = bytearray(data)
    place = rng.randrange(len(changed))
    kind = rng.choice(["cut", "flip", "insert", "delete", "header"])
    if kind == "cut":
        del changed[place:]
    elif kind == "flip":
        for _ in range(10):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    elif kind == "insert":
        changed[place:place] = rng.randbytes(20)
    elif kind == "delete":
        del changed[place : place + 100]
    else:
        for _ in range(5):
            changed[rng.randrange(min(len(changed), 600))] = rng.choice(b'0123456789/.\0"{}[],:\xff')
    return bytes(changed)


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 60))])
@pytest.mark.parametrize("make", LAYOUTS[:-1], ids=lambda make: make.__name__)
def test_damaged_lists_are_faults_or_one_sentence(make, seed, tmp_path):
    make(tmp_path / "set")
    rng = random.Random(seed)
    path = rng.choice(sorted(path for path in (tmp_path / "set").rglob("*") if path.suffix in LISTS and path.stat().st_size))
    path.write_bytes(damaged(path.read_bytes(), rng))
    try:
        dataset = read_dataset(tmp_path / "set")
    except UsageError:  # nothing else is a list
        return
    for fault in (*dataset.faults, *dataset.notes):
        assert "\n" not in shown(fault.detail)
        assert shown(fault.where)
    with SoundReader(max_bytes=2**20) as reader:
        for clip in dataset.clips:
            assert all(clip.captions)
            assert clip.sound.path.is_relative_to(tmp_path / "set")
            with contextlib.suppress(AudioFileError):
                reader.read(clip.sound)
