"""`audiojax caption` with a stand-in for the model: what it prints and writes, and its exit codes."""

import csv

import pytest

from audiojax import api
from audiojax.api.describing import captioning
from tests.api.captioner import RATE, Parrot, windows_here
from tests.index.sounds import write


@pytest.fixture
def model(monkeypatch):
    made, opened = Parrot(), []
    monkeypatch.setattr(captioning, "window_files", windows_here)
    monkeypatch.setattr(api, "load_captioner", lambda path: opened.append(path) or made)
    made.opened = opened
    return made


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "sounds" / "a.wav", 0.2, 2 * RATE)
    write(tmp_path / "sounds" / "b.wav", 0.4)
    return tmp_path / "sounds"


def test_captions_are_printed_where_no_table_is_named(audiojax, model, folder):
    code, out, err = audiojax("caption", str(folder), "--model", "runs/m", "--quiet")
    assert (code, err, model.opened) == (0, "", ["runs/m"])
    rows = [line.split() for line in out.replace("\n  ", " ").splitlines() if "level" in line]
    assert [row[-3] for row in rows] == ["level"] * 3
    assert [row[-5:-3] for row in rows] == [["0.0", "1.0"], ["1.0", "2.0"], ["0.0", "1.0"]]


def test_a_table_and_a_page_are_written_and_gone_on_with(audiojax, model, folder, tmp_path):
    words = ["caption", f"{folder}/*.wav", "--model", "m", "--out", f"{tmp_path}/c.csv", "--report", f"{tmp_path}/c.html", "--quiet"]
    code, out, _ = audiojax(*words, "--candidates", "2", "--steps", "3", "--guidance", "0.5", "--seed", "4")
    assert (code, out.splitlines()) == (0, [f"{tmp_path}/c.csv: 6 captions of 2 files, 6 of them new", f"{tmp_path}/c.html"])
    assert model.chosen[0] == {"steps": 3, "guidance": 0.5}
    with (tmp_path / "c.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    page = (tmp_path / "c.html").read_text()
    assert all(row["caption"] in page for row in rows)
    assert page.count("<audio") == 3
    code, out, _ = audiojax(*words, "--candidates", "2", "--steps", "3", "--guidance", "0.5", "--seed", "4")
    assert (code, out.splitlines()[0]) == (0, f"{tmp_path}/c.csv: 6 captions of 2 files, 0 of them new")
    code, _, err = audiojax(*words)
    assert code == 2
    assert "c.csv: holds captions written with seed 4, not 0; steps 3, not 10" in err


def test_a_file_without_captions_is_named_and_the_exit_code_tells(audiojax, model, folder):
    (folder / "c.wav").write_bytes(b"RIFF not a sound")
    write(folder / "d.wav", 0.0)
    code, out, err = audiojax("caption", str(folder), "--model", "m", "--quiet")
    assert code == 1
    assert out.count("level") == 3
    assert "2 files used, 2 left out: silent 1, undecodable 1" in err
    assert f"{folder}/c.wav" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x.wav"], "the following arguments are required: --model"),
        (["--model", "m"], "the following arguments are required: FILE"),
        (["x.wav", "--model", "m", "--out", "c.txt"], "--out: must end in .csv or .json, not 'c.txt'"),
        (["x.wav", "--model", "m", "--candidates", "0"], "--candidates: must be a whole number from 1 up, not '0'"),
        (["x.wav", "--model", "m", "--top-p", "2"], "--top-p: must be a number from 0 to 1, not '2'"),
        (["x.wav", "--model", "m", "--beams", "3"], "beams: runs/parrot does not take it; it takes steps, guidance"),
        (["*.none", "--model", "m"], "*.none: no file has such a name"),
    ],
)
def test_misuse_is_named(audiojax, model, words, message):
    code, out, err = audiojax("caption", *words)
    assert (code, out) == (2, "")
    assert message in err


def test_a_model_that_does_not_describe_is_named(audiojax, monkeypatch):
    from audiojax.api import loading

    monkeypatch.setattr(loading, "load", lambda path: object())
    code, _, err = audiojax("caption", "x.wav", "--model", "runs/diffatr")
    assert code == 2
    assert "runs/diffatr: holds a object, which does not describe sounds" in err
