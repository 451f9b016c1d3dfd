"""Files appear whole or not at all, and every file name has a text."""

import os
from pathlib import Path

import pytest

from audiojax.errors import UsageError
from audiojax.files import shown, write_whole


def test_a_file_is_replaced_whole_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "a.txt"
    assert write_whole(path, "one ü") == write_whole(str(path), "two ü") == path
    assert path.read_text(encoding="utf-8") == "two ü"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_cannot_be_finished_leaves_what_was_there(tmp_path, monkeypatch, error):
    write_whole(tmp_path / "a.txt", "old")

    def stop(source, target):
        raise error

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises((UsageError, KeyboardInterrupt)):
        write_whole(tmp_path / "a.txt", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert write_whole("~/sub/a.txt", "x") == tmp_path / "sub" / "a.txt"
    assert (tmp_path / "sub" / "a.txt").read_text() == "x"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file/a.txt: cannot be written"):
        write_whole(tmp_path / "file" / "a.txt", "x")


@pytest.mark.parametrize(
    ("name", "text"),
    [(b"Glocke.wav", "Glocke.wav"), ("Türklingel.wav".encode(), "Türklingel.wav"), (b"T\xfcrklingel.wav", "T\\xfcrklingel.wav")],
)
def test_a_name_that_is_not_utf_8_has_a_text(name, text):
    for path in (name, os.fsdecode(name), Path(os.fsdecode(name))):
        assert shown(path) == text
    assert shown(name).encode()
