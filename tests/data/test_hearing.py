"""Sounds in archives reach the decoding children, in order, and leave nothing behind."""

import io
import tarfile
import tempfile

import pytest

from audiojax.audio.reasons import BadAudio, Reason
from audiojax.data.hearing import Heard, hear, hear_all
from audiojax.data.layouts.clips import Sound
from tests.data.layouts.planting import RATE, SILENCE, TRUNCATED, put, tone


@pytest.fixture
def members(tmp_path):
    """Three members of a tar: whole, cut short, silent."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in {"a.wav": tone(200), "b.wav": TRUNCATED, "c.wav": SILENCE}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(tmp_path / "a.tar") as tar:
        return [Sound(tmp_path / "a.tar", member.name, member.offset_data, member.size) for member in tar]


def test_members_and_files_are_heard_in_order(members, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    put(tmp_path / "same.flac", tone(200, format="FLAC"))
    gone = Sound(tmp_path / "no.tar", "x.wav", 512, 100)
    sounds = [members[1], gone, Sound(tmp_path / "same.flac"), members[0], Sound(tmp_path / "no.wav"), members[2]]
    results = list(hear_all(iter(sounds), workers=2))
    assert [sound for sound, _ in results] == sounds
    cut, lost, flac, wav, missing, silent = (result for _, result in results)
    assert (cut.reason, cut.path) == (Reason.TRUNCATED, f"{tmp_path / 'a.tar'}:b.wav")
    assert lost == BadAudio(f"{tmp_path / 'no.tar'}:x.wav", Reason.MISSING, "no such file")
    assert (missing.reason, missing.path) == (Reason.MISSING, str(tmp_path / "no.wav"))
    assert flac == wav == Heard(0.6, RATE, 1, False, wav.digest)
    assert silent.silent
    assert silent.digest != wav.digest
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_long_sound_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr("audiojax.data.hearing.BLOCKS_PER_SIGN", 2)
    put(tmp_path / "long.wav", tone(200, seconds=17))
    signs = list(hear(Sound(tmp_path / "long.wav")))
    assert [sign.seconds for sign in signs] == [8, 16, 17]
    assert [bool(sign.digest) for sign in signs] == [False, False, True]
