"""The form that makes sounds, as a function: the same sound as `audiojax generate`, and what is refused."""

import inspect
from functools import partial

import numpy as np
import pytest
import soundfile

from audiojax.api.making.wishes import Made
from audiojax.audio.reasons import AudioFileError
from audiojax.cli import main
from audiojax.errors import UsageError
from audiojax.page.fields import answered
from audiojax.page.making import Sounded, make_sound
from tests.api.stub_maker import Hummer

VALUES = {
    "prompt": "rain on a roof",
    "negative": "",
    "seconds": "0.5",
    "steps": 3,
    "guidance": 3.5,
    "sampler": "dpm++",
    "seed": 0,
    "candidates": 1,
    "audio": None,
    "strength": 0.5,
}


@pytest.fixture
def ask(tmp_path):
    """ask(maker=..., **values): the values above but for those given."""

    def make(maker=None, **values) -> Sounded:
        return make_sound(maker or Hummer(), tmp_path, **{**VALUES, **values})

    return make


def test_a_prompt_becomes_a_sound_a_picture_and_a_line(ask, tmp_path):
    made = ask()
    samples, rate = soundfile.read(made.sound)
    assert (len(samples), rate, round(np.abs(samples).max(), 2)) == (8_000, 16_000, 0.3)
    assert made.sound.startswith(f"{tmp_path}/")
    assert (made.picture.shape, made.picture.dtype) == ((128, 800, 3), np.uint8)
    assert made.said == "0.5 s at 16000 Hz; the picture goes from 40 Hz up to 8 kHz (mel scale)"


def test_the_file_is_that_of_the_command_line(ask, tmp_path, monkeypatch):
    from audiojax import api

    monkeypatch.setattr(api, "load_maker", lambda path, **options: Hummer())
    words = ["generate", "rain on a roof", "--model", "m", "--out", f"{tmp_path}/cli.wav", "--seconds", "0.5", "--steps", "3", "--quiet"]
    assert main([*words, "--sampler", "dpm++"]) == 0
    with open(ask().sound, "rb") as here, open(tmp_path / "cli.wav", "rb") as there:
        assert here.read() == there.read()


def test_what_is_asked_for_reaches_the_maker(ask):
    maker = Hummer()
    ask(maker, seconds=" ", steps=7.0, guidance=2, sampler="ddim")
    ((plan, reference),) = maker.plans
    assert (plan.seconds, plan.guidance, plan.candidates, reference) == (10.0, 2.0, 1, None)
    assert (plan.sampling.sampler, plan.sampling.steps, plan.sampling.eta, plan.sampling.strength) == ("ddim", 7, 1.0, 1.0)


def test_sounds_of_one_prompt_do_not_overwrite_each_other(ask):
    first, second = ask(seconds="0.5"), ask(seconds="0.25")
    assert first.sound != second.sound
    assert [soundfile.info(made.sound).duration for made in (first, second)] == [0.5, 0.25]


def test_a_reference_has_its_own_length_and_strength(ask, tmp_path):
    maker = Hummer()
    (tmp_path / "a.wav").touch()
    ask(maker, seconds="", audio=tmp_path / "a.wav", strength=0.25)
    ask(maker, seconds="0.75", audio=tmp_path / "a.wav")
    assert [(reference.length, plan.sampling.strength) for plan, reference in maker.plans] == [(16_000, 0.25), (12_000, 0.5)]


class Chooser(Hummer):
    """Has a ranker, and takes the second candidate."""

    def check(self, wishes, plan):
        pass

    def make(self, wishes, plan, reference=None, batch_size=None):
        yield Made(wishes[0], np.zeros(1_600, np.float32), self.sample_rate, 1, 0.3125)


def test_the_score_of_a_ranked_sound_is_said(ask):
    assert ask(Chooser(), candidates=3).said.endswith("; candidate 2 of 3, whose CLAP score 0.312 is the best")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": " "}, "a prompt is empty"),
        ({"prompt": None}, "a prompt is empty"),
        ({"seconds": "long"}, "seconds is 'long'; a number is needed"),
        ({"seconds": "0"}, "seconds is 0.0; a number above 0"),
        ({"seconds": "61"}, "seconds is 61.0; a number above 0 and up to 60"),
        ({"steps": 0}, "steps is 0; a whole number from 1 to 500"),
        ({"steps": None}, "steps is empty"),
        ({"guidance": -1}, "guidance is -1.0"),
        ({"guidance": 1, "negative": "hum"}, "a negative prompt has no effect at guidance 1"),
        ({"sampler": "euler"}, "sampler is 'euler'; there are ddim"),
        ({"seed": -1}, "seed is -1"),
        ({"candidates": 17}, "candidates is 17; a whole number from 1 to 16"),
        ({"candidates": 2}, "has the text half of a CLAP alone"),
        ({"audio": "/etc/passwd"}, "was not dropped on this page"),
    ],
)
def test_misuse_is_named_and_nothing_written(ask, tmp_path, values, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        ask(**values)
    assert not list(tmp_path.rglob("*.wav"))


def test_a_reference_that_is_no_sound_is_named_without_its_folder(tmp_path):
    class Strict(Hummer):
        def hear(self, path):
            raise AudioFileError(path, "undecodable", "no sound")

    (tmp_path / "ab12").mkdir()
    (tmp_path / "ab12" / "notes.txt").write_text("no sound")
    ask = answered(partial(make_sound, Strict(), tmp_path), (None, None), tmp_path)
    assert list(inspect.signature(ask).parameters) == list(VALUES)
    values = {**VALUES, "audio": tmp_path / "ab12" / "notes.txt"}
    assert ask(*values.values()) == (None, None, "notes.txt: undecodable (no sound)")
