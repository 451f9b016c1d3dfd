"""The page of a search: the file names as seen from the folder, the sound from where the best window begins."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiojax.audio.reasons import AudioFileError
from audiojax.report.results import shorten, write_results


@dataclass
class Found:
    path: Path
    start: float
    score: float


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    soundfile.write(tmp_path / "sub" / "a<b>.wav", 0.1 * np.ones(32_000), 16_000)
    return tmp_path


def test_the_page_names_scores_and_places(folder):
    hits = [Found(folder / "sub" / "a<b>.wav", 0.0, 0.75), Found(folder / "sub" / "a<b>.wav", 1.0, 0.5)]
    page = write_results(folder / "page.html", "rain & wind", hits, root=folder).read_text(encoding="utf-8")
    assert "rain &amp; wind" in page
    assert "sub/a&lt;b&gt;.wav" in page
    assert "0.750" in page
    assert "from 1.0 s" in page
    assert page.count("<audio") == 2


def test_a_file_that_has_gone_is_named(folder):
    with pytest.raises(AudioFileError, match="gone.wav: missing"):
        write_results(folder / "page.html", "rain", [Found(folder / "gone.wav", 0.0, 1.0)])
    assert not (folder / "page.html").exists()


def test_names_that_are_not_utf_8_have_a_text(folder):
    odd = folder / os.fsdecode(b"T\xfcren")
    (folder / "sub").rename(odd)
    page = write_results(odd / "page.html", "rain", [Found(odd / "a<b>.wav", 0.0, 0.75)], root=folder).read_text(encoding="utf-8")
    assert "T\\xfcren/a&lt;b&gt;.wav" in page
    assert "T\\xfcren" in write_results(folder / "page.html", "rain", [], root=odd).read_text(encoding="utf-8")


def test_paths_elsewhere_stay_as_they_are(folder):
    assert shorten(folder / "sub" / "x.wav", folder) == "sub/x.wav"
    assert shorten("/elsewhere/x.wav", folder) == "/elsewhere/x.wav"
