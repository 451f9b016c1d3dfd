"""`audiojax generate` with a stand-in for the model: what it prints and writes, and what it refuses."""

import os

import pytest

from audiojax import api
from audiojax.cli.parsing import RETRIEVAL_MODES
from audiojax.papers.re_audioldm.retrieval import HOW
from tests.api.stub_maker import Hummer
from tests.index.sounds import write


@pytest.fixture
def model(monkeypatch):
    made, opened = Hummer(), []
    monkeypatch.setattr(api, "load_maker", lambda path, **options: opened.append((path, options)) or made)
    made.opened = opened
    return made


def test_one_prompt_becomes_a_file_and_a_page(audiojax, model, tmp_path):
    out, page = f"{tmp_path}/bell.wav", f"{tmp_path}/bell.html"
    words = ["generate", "a bell & a gong", "--model", "m", "--out", out, "--report", page, "--seconds", "1.5", "--steps", "7", "--quiet"]
    code, said, err = audiojax(*words, "--sampler", "dpm++", "--heads", "diffusers", "--retrieval-count", "5")
    assert (code, said.splitlines(), err) == (0, [f"{out}: 1.5 s", page], "")
    ((path, options),) = model.opened
    assert (path, options) == ("m", {"heads": "diffusers", "retrieval": {"count": 5}, "progress": False})
    ((plan, reference),) = model.plans
    assert (plan.sampling.sampler, plan.sampling.steps, plan.seconds, reference) == ("dpm++", 7, 1.5, None)
    text = (tmp_path / "bell.html").read_text()
    assert "a bell &amp; a gong" in text
    assert text.count("<audio") == 1


def test_all_ways_to_retrieve_can_be_asked_for():
    assert RETRIEVAL_MODES == HOW


def test_a_file_of_prompts_becomes_a_folder_that_is_gone_on_with(audiojax, model, tmp_path):
    (tmp_path / "p.txt").write_text("rain\nwind\n")
    words = ["generate", "--prompts", f"{tmp_path}/p.txt", "--model", "m", "--out", f"{tmp_path}/out", "--seconds", "1", "--quiet"]
    assert audiojax(*words)[:2] == (0, f"{tmp_path}/out: 2 sounds, 2 of them new\n")
    assert audiojax(*words)[:2] == (0, f"{tmp_path}/out: 2 sounds, 0 of them new\n")
    assert len(os.listdir(tmp_path / "out")) == 3


def test_a_reference_is_resampled_and_said(audiojax, model, tmp_path):
    write(tmp_path / "a.wav", 0.2)
    words = ["generate", "rain", "--model", "m", "--out", f"{tmp_path}/b.wav", "--audio", f"{tmp_path}/a.wav", "--quiet"]
    code, _, err = audiojax(*words, "--inpaint", "0.2:0.5")
    assert (code, err) == (0, f"{tmp_path}/a.wav: 44100 Hz, resampled to 16000 Hz\n")
    plan, reference = model.plans[0]
    assert (reference.hole, plan.sampling.strength) == ((3_200, 8_000), 1.0)
    code, _, _ = audiojax(*words, "--report", f"{tmp_path}/r.html")
    assert model.plans[1][0].sampling.strength == 0.5
    assert (tmp_path / "r.html").read_text().count("<audio") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either one prompt"),
        (["rain", "--prompts", "p.txt"], "give either one prompt"),
        ([" "], "the prompt is empty"),
        (["rain", "--seconds", "-1"], "--seconds: must be a number from 0 up, not '-1'"),
        (["rain", "--seconds", "0"], "seconds is 0.0; a number above 0"),
        (["rain", "--steps", "0"], "--steps: must be a whole number from 1 up, not '0'"),
        (["rain", "--steps", "501"], "steps is 501; a whole number from 1 to 500"),
        (["rain", "--strength", "0.5"], "--strength says what becomes of a sound that there is: name it with --audio"),
        (["rain", "--audio", "a.wav", "--inpaint", "3:2"], "--inpaint: must be two times in seconds like 2:3.5, not '3:2'"),
        (["rain", "--audio", "a.wav", "--inpaint", "1:2", "--extend", "1"], "one at a time"),
        (["rain", "--candidates", "3"], "has the text half of a CLAP alone"),
        (["--prompts", "p.txt", "--out", "a.wav"], "names one sound, and --prompts makes several"),
        (["rain", "--out", "rain.mp3"], "rain.mp3: sounds end in .wav or .flac, not in .mp3"),
        (["rain", "--out", "rain.WAV"], "rain.WAV: sounds end in .wav or .flac, not in .WAV"),
    ],
)
def test_misuse_is_named_and_nothing_written(audiojax, model, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = audiojax("generate", "--model", "m", "--out", "new.wav", "--quiet", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert os.listdir(tmp_path) in ([], ["cache"])
