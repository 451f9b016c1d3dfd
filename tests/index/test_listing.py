"""What counts as a sound file below a folder."""

import os
import shutil

import pytest

from audiojax.audio.reasons import Reason
from audiojax.errors import UsageError
from audiojax.index.listing import list_sounds


def test_folders_that_cannot_be_searched(tmp_path):
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / ".hidden.wav").touch()
    with pytest.raises(UsageError, match=r"no sound file.*\.wav \.flac"):
        list_sounds(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        list_sounds(tmp_path / "no")
    with pytest.raises(UsageError, match="is a file"):
        list_sounds(tmp_path / "notes.txt")


def test_a_subfolder_that_goes_away_while_it_is_listed_is_named(folder, monkeypatch):
    genuine = os.walk

    def walk(top, **options):
        for here, folders, files in genuine(top, **options):
            if here.endswith("b"):
                shutil.rmtree(here)
            yield here, folders, files

    monkeypatch.setattr(os, "walk", walk)
    sounds, unread = list_sounds(folder)
    assert [path.name for path in sounds] == ["0.wav", "2.wav", "4.wav"]
    assert [(bad.path, bad.reason) for bad in unread] == [(str(folder / "b"), Reason.MISSING)]


def test_a_folder_without_a_readable_part_says_so(folder, closed):
    closed(folder)
    with pytest.raises(UsageError, match=r"no sound file in it; looked for .*; cannot be read: .*sounds: unreadable .a folder: Permission"):
        list_sounds(folder)


def test_listing_is_sorted_follows_links_once_and_skips_the_hidden(tmp_path):
    for name in ("b/2.FLAC", "b/1.wav", "a.mp3", ".git/x.wav", "b/.y.wav", "c.txt"):
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).touch()
    (tmp_path / "s" / "b" / "loop").symlink_to(tmp_path / "s")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "z.ogg").touch()
    (tmp_path / "s" / "linked").symlink_to(tmp_path / "elsewhere")
    assert [str(path.relative_to(tmp_path / "s")) for path in list_sounds(tmp_path / "s")[0]] == [
        "a.mp3",
        "b/1.wav",
        "b/2.FLAC",
        "linked/z.ogg",
    ]
