"""The bytes of sounds in files, tars and tables, within bounds and with named reasons."""

import io
import os
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audiojax.audio.reasons import AudioFileError, Reason
from audiojax.data.layouts.clips import Sound
from audiojax.data.layouts.sounds import SoundReader, name_of, read_bytes


def reason(sound, **options):
    with pytest.raises(AudioFileError) as caught:
        read_bytes(sound, **options)
    return caught.value.bad


@pytest.fixture
def table(tmp_path):
    """A hundred cells in row groups of thirty; the fifth is empty."""
    cells = [str(row).encode() if row != 4 else None for row in range(100)]
    columns = {"flat": cells, "audio": [{"bytes": cell, "path": "x.wav"} for cell in cells]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=30)
    return tmp_path / "t.parquet"


@pytest.mark.parametrize("column", ["flat", "audio.bytes"])
def test_cells_in_any_order(table, column):
    with SoundReader() as reader:
        for row in (6, 0, 99, 29, 30, 12, 1, 1, 89, 90, 5, *range(60, 70)):
            assert reader.read(Sound(table, f"{row}/{column}")) == str(row).encode()
    assert read_bytes(Sound(table, f"3/{column}")) == b"3"


def test_cells_that_are_not_there(table):
    assert reason(Sound(table, "4/flat")).reason == Reason.EMPTY
    assert reason(Sound(table, "100/flat")).reason == Reason.UNREADABLE
    assert reason(Sound(table.with_name("no.parquet"), "0/flat")).reason == Reason.MISSING
    table.write_bytes(b"PAR1")
    assert reason(Sound(table, "0/flat")).reason == Reason.UNREADABLE


def test_members_of_a_tar_are_read_in_place(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in {"a.wav": b"first", "b.wav": b"second"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as tar:
        sounds = [Sound(path, member.name, member.offset_data, member.size) for member in tar]
    assert [read_bytes(sound) for sound in sounds] == [b"first", b"second"]
    os.truncate(path, sounds[1].offset + 3)
    bad = reason(sounds[1])
    assert (bad.reason, bad.detail, bad.path) == (Reason.TRUNCATED, "3 of 6 bytes are there", f"{path}:b.wav")


def test_files_and_what_is_none(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"abc")
    assert read_bytes(Sound(path)) == b"abc"
    assert reason(Sound(path), max_bytes=2).reason == Reason.OUT_OF_MEMORY
    assert reason(Sound(tmp_path / "b.wav")).reason == Reason.MISSING
    assert reason(Sound(tmp_path)).reason == Reason.NOT_A_FILE
    os.mkfifo(tmp_path / "pipe.wav")
    assert reason(Sound(tmp_path / "pipe.wav")).reason == Reason.NOT_A_FILE


def test_names_for_people(tmp_path):
    assert name_of(Sound(tmp_path / "a.tar", "b.wav", 512, 3), tmp_path) == "a.tar:b.wav"
    assert name_of(Sound(tmp_path / "a.wav")) == str(tmp_path / "a.wav")
