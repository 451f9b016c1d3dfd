"""The form that describes, as a function: captions, the model's own options, and what is refused."""

import pytest

from audiojax.api.describing import captioning
from audiojax.audio.reasons import AudioFileError
from audiojax.errors import UsageError
from audiojax.page.describing import chosen, describe_sound
from tests.api.captioner import RATE, Parrot, windows_here
from tests.index.sounds import write


@pytest.fixture(autouse=True)
def no_child_processes(monkeypatch):
    monkeypatch.setattr(captioning, "window_files", windows_here)


@pytest.fixture
def sound(tmp_path):
    write(tmp_path / "ab12" / "a.wav", 0.2, 2 * RATE)
    return tmp_path / "ab12" / "a.wav"


def test_a_sound_becomes_rows_and_a_line(tmp_path, sound):
    parrot = Parrot()
    found = describe_sound(parrot, tmp_path, sound, 2, 1, 10, 1.0)
    assert [row[:3] + row[4:] for row in found.rows] == [(0.0, 1.0, 1, 0.5), (0.0, 1.0, 2, 0.5), (1.0, 2.0, 1, 0.5), (1.0, 2.0, 2, 0.5)]
    assert all(row[3].startswith("level 0.2 ") for row in found.rows)
    assert found.said == "a.wav: 2 windows of up to 1 s"
    captions = parrot.caption([sound], candidates=2, seed=1)
    assert [row[3] for row in found.rows] == [caption.text for caption in captions]


def test_options_reach_the_model_in_its_own_kinds(tmp_path, sound):
    parrot = Parrot()
    describe_sound(parrot, tmp_path, sound, 1, 0, 3.0, 2)
    assert parrot.chosen == [{"steps": 3, "guidance": 2.0}]
    assert type(parrot.chosen[0]["steps"]) is int


def test_options_that_are_left_alone_are_not_chosen():
    parrot = Parrot()
    parrot.defaults = {"sampler": "ddim", "steps": 10, "guidance": 1.0, "early": False}
    assert chosen(parrot, ("ddim", 10, 1, False)) == {}
    assert chosen(parrot, ("renoise", 10, 0.5, True)) == {"sampler": "renoise", "guidance": 0.5, "early": True}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1, 0, 2.5, 1.0), "steps is 2.5; a whole number"),
        ((1, 0, 3, None), "guidance is empty; a number"),
        ((0, 0, 3, 1.0), "candidates is 0; a whole number from 1 to 16"),
        ((1, None, 3, 1.0), "seed is empty"),
    ],
)
def test_misuse_is_named(tmp_path, sound, values, message):
    with pytest.raises(UsageError, match=message):
        describe_sound(Parrot(), tmp_path, sound, *values)


def test_no_sound_and_bad_ones_are_named(tmp_path, sound):
    with pytest.raises(UsageError, match="nothing to describe: drop a sound first"):
        describe_sound(Parrot(), tmp_path, None, 1, 0, 10, 1.0)
    with pytest.raises(UsageError, match="was not dropped on this page"):
        describe_sound(Parrot(), tmp_path / "other", sound, 1, 0, 10, 1.0)
    sound.write_bytes(b"no sound")
    with pytest.raises(AudioFileError, match=r"a.wav: undecodable"):
        describe_sound(Parrot(), tmp_path, sound, 1, 0, 10, 1.0)
