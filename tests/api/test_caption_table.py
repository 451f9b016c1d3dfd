"""The table of captions on disk: what stays, what is done again, what is refused; and what is described."""

import csv
import json
import os
from pathlib import Path

import pytest

from audiojax.api.describing import caption_table, captioning
from audiojax.api.describing.caption_table import find_sounds, read_captions, write_captions
from audiojax.api.describing.captioning import Described
from audiojax.errors import AudiojaxError, UsageError
from tests.api.captioner import RATE, Parrot, windows_here
from tests.index.sounds import write

NAMES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Decodes in this process."""
    monkeypatch.setattr(captioning, "window_files", windows_here)


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(NAMES):
        write(tmp_path / "sounds" / f"{name}.wav", 0.1 + number / 10, (number + 1) * RATE)
    return tmp_path / "sounds"


def describe(folder, out, model=None, **options):
    return write_captions(model or Parrot(), [folder], out, progress=False, **options)


@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_the_table_holds_what_is_returned(folder, tmp_path, ending):
    out = tmp_path / f"captions{ending}"
    found = describe(folder, out, candidates=2)
    assert (found.written, found.tally.used) == (12, 3)
    assert read_captions(out) == list(found.captions)
    rows = json.loads(out.read_text()) if ending == ".json" else list(csv.DictReader(out.open(newline="")))
    assert list(rows[0]) == ["file", "start", "end", "candidate", "caption", "confidence", "digest"]
    assert rows[0]["file"] == str(folder / "a.wav")
    facts = json.loads((tmp_path / f"captions{ending}.json").read_text())
    assert facts == {"model": "runs/parrot", "facts": {"model": "parrot", "seed": 0, "steps": 10, "guidance": 1.0}, "left_out": {}}


def test_the_same_call_goes_on(folder, tmp_path):
    out, model = tmp_path / "captions.csv", Parrot()
    first = describe(folder, out)
    again = describe(folder, out, model)
    assert (again.captions, again.written, model.shapes) == (first.captions, 0, [])
    more = describe(folder, out, candidates=2)
    assert (more.written, len(more.captions)) == (6, 12)
    assert set(first.captions) < set(more.captions)
    fewer = describe(folder, out, candidates=1)
    assert (fewer.written, fewer.captions) == (0, more.captions)


def test_changed_removed_and_new_files(folder, tmp_path):
    out = tmp_path / "captions.csv"
    describe(folder, out)
    write(folder / "c.wav", 0.9, 2 * RATE)
    (folder / "a.wav").unlink()
    write(folder / "d.wav", 0.5)
    found = describe(folder, out)
    assert found.written == 3
    assert [(one.path.stem, one.start) for one in read_captions(out)] == [
        ("a", 0.0), ("b", 0.0), ("b", 1.0), ("c", 0.0), ("c", 1.0), ("d", 0.0)
    ]  # fmt: skip
    assert {one.text[:9] for one in found.captions if one.path.stem == "c"} == {"level 0.9"}


def test_a_damaged_file_leaves_the_table_and_an_absent_one_does_not(folder, tmp_path):
    out = tmp_path / "captions.csv"
    describe(folder, out)
    paths = sorted(folder.iterdir())
    paths[0].write_bytes(b"RIFF not a sound")
    paths[1].rename(tmp_path / "away.wav")
    found = write_captions(Parrot(), paths, out, progress=False)
    assert found.tally.counts() == {"missing": 1, "undecodable": 1}
    assert [one.path.stem for one in read_captions(out)] == ["b", "b", "c", "c", "c"]
    assert set(json.loads((tmp_path / "captions.csv.json").read_text())["left_out"]) == {str(path) for path in paths[:2]}


def test_a_run_that_is_stopped_keeps_what_it_has(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(caption_table, "FLUSH_SECONDS", 0.0)
    out, model = tmp_path / "captions.csv", Parrot(break_at=5)
    with pytest.raises(RuntimeError, match="killed"):
        describe(folder, out, model, batch_size=1)
    assert len(read_captions(out)) == 4
    rest = Parrot()
    found = describe(folder, out, rest, batch_size=1)
    assert (len(rest.shapes), found.written) == (2, 2)
    assert found.captions == describe(folder, None).captions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"steps": 3}, "steps 10, not 3"),
        ({"steps": 3, "guidance": 2.0}, "steps 10, not 3; guidance 1.0, not 2.0"),
    ],
)
def test_other_options_do_not_mix(folder, tmp_path, change, message):
    out = tmp_path / "captions.csv"
    describe(folder, out)
    before = out.read_bytes()
    with pytest.raises(UsageError, match=message):
        describe(folder, out, **change)
    assert out.read_bytes() == before


def test_another_model_does_not_mix(folder, tmp_path):
    out, other = tmp_path / "captions.csv", Parrot()
    describe(folder, out)
    other.model_id = "macaw"
    with pytest.raises(UsageError, match="written with model parrot, not macaw"):
        describe(folder, out, other)


def test_tables_of_others_and_damaged_ones_are_left_alone(folder, tmp_path):
    out = tmp_path / "captions.csv"
    out.write_text("file,caption\na.wav,a dog\n")
    with pytest.raises(UsageError, match="captions.csv.json is missing"):
        describe(folder, out)
    out.unlink()
    describe(folder, out)
    whole = out.read_text()
    for damaged in (whole[: len(whole) // 2], whole.replace("0.5", "half"), whole.replace("digest", "hash"), '"'):
        out.write_text(damaged)
        with pytest.raises(AudiojaxError, match="is damaged"):
            describe(folder, out)
        assert out.read_text() == damaged
    (tmp_path / "captions.csv.json").write_text("[]")
    with pytest.raises(AudiojaxError, match="captions.csv.json: is damaged"):
        describe(folder, out)
    with pytest.raises(UsageError, match="must end in .csv or .json"):
        describe(folder, tmp_path / "captions.txt")


def test_captions_with_quotes_and_lines_come_back(folder, tmp_path, monkeypatch):
    text = 'a "dog", barks\r\nand\x0b barks\u2028loud\x85er'
    model = Parrot()
    monkeypatch.setattr(model, "caption_batch", lambda batch, seeds, options: [Described(text, 0.25, 3)] * len(seeds))
    out = tmp_path / "captions.csv"
    found = describe(folder, out, model)
    assert read_captions(out) == list(found.captions)
    assert found.captions[0].text == text


def test_a_name_that_is_not_utf_8_is_gone_on_with(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/T\xfcr.wav"))
    write(tmp_path / "a.wav", 0.5)
    (tmp_path / "a.wav").rename(path)
    out, model = tmp_path / "captions.csv", Parrot()
    first = write_captions(Parrot(), [path], out, progress=False)
    again = write_captions(model, [path], out, progress=False)
    assert model.shapes == []
    assert [(one.path, one.text) for one in again.captions] == [(path, first.captions[0].text)]
    assert "T\\xfcr.wav" in out.read_text()


def test_files_folders_and_patterns_name_each_file_once(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(folder / "deep" / "e[1].wav", 0.5)
    (folder / "notes.txt").write_text("no sound")
    paths, unread = find_sounds([folder / "a.wav", "sounds", "sounds/**/*.wav", "sounds/deep/e[1].wav", "nowhere.wav"])
    assert [path.name for path in paths] == ["a.wav", "b.wav", "c.wav", "e[1].wav", "nowhere.wav"]
    assert unread == []
    for words, message in ((["*.mp3"], "no file has such a name"), ([tmp_path / "sounds" / "deep", "empty"], "no sound file")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match=message):
            find_sounds(words)
