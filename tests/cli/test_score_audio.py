"""`audiojax score-audio` as it is typed: tables on the screen, files for programs, a page to listen to, one line for a mistake."""

import csv
import json

import pytest

from tests.api.sound_folders import sound_folder, tagger_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("sounds")
    sound_folder(place / "made", 4, noise=0.05)
    sound_folder(place / "real", 4)
    sound_folder(place / "other", 5)
    tagger_folder(place / "tagger")
    return place


def test_tables_and_files(audiojax, place, tmp_path):
    files = ("--json", f"{tmp_path}/s.json", "--csv", f"{tmp_path}/s.csv", "--out", f"{tmp_path}/s.html")
    words = (f"{place}/made", f"{place}/real", "--backbone", f"{place}/tagger", "--window", "0.8", "--quiet")
    code, out, err = audiojax("score-audio", *words, *files)
    assert code == 0
    assert all(
        text in out for text in ("Frechet distance", "KID", "KL (softmax)", "silent sounds", "windows of 0.8 s", "4, by path", "list ")
    )
    assert err.strip().startswith("few sounds for 8 features")
    stored = json.loads((tmp_path / "s.json").read_text())
    assert [row["id"] for row in stored["rows"]] == ["clip0", "clip1", "clip2", "clip3"]
    with open(tmp_path / "s.csv", newline="") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    assert float(rows["Frechet distance"]["value"]) == stored["scores"]["Frechet distance"]
    page = (tmp_path / "s.html").read_text()
    assert page.count("<audio") == 8
    assert "clip3: generated" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("made", "nowhere"), "nowhere: no such folder"),
        (("made", "other"), "1 (clip4) are not in"),
        (("made", "soundworld:everything"), "soundworld:everything: write soundworld:SPLIT,SIZE,DOMAIN"),
        (("made", "real", "--captions", "c.csv"), "--captions belongs to --clap"),
        (("made", "real", "--clap", "x"), "name a table of them with --captions"),
        (("made", "real", "--window", "0"), "must be a number from 0.1 up"),
    ],
)
def test_mistakes(audiojax, place, words, message):
    words = [f"{place}/{word}" if word in ("made", "nowhere", "other", "real") else word for word in words]
    code, _, err = audiojax("score-audio", *words, "--backbone", f"{place}/tagger")
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) <= 2
