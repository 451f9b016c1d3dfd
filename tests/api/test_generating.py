"""Files of prompts become folders of sounds that are gone on with; a stand-in makes the sounds."""

import csv
import os

import numpy as np
import pytest

from audiojax.api.making.generating import TABLE, order_of, read_prompts, write_one, write_sounds
from audiojax.api.making.wishes import Plan, Wish, make_plan
from audiojax.audio.io import decode
from audiojax.errors import AudiojaxError, UsageError
from audiojax.papers.re_audioldm.clips import reference_of
from tests.api.stub_maker import Hummer

ORDERS = [order_of(Wish("a dog barks")), order_of(Wish("rain", "wind", 3), "wet")]


def test_a_text_has_a_prompt_on_each_line(tmp_path):
    (tmp_path / "p.txt").write_text("a dog barks\n\n  Rain, on a Roof! \n")
    orders = read_prompts(tmp_path / "p.txt", "music", 5)
    assert [order.wish for order in orders] == [Wish("a dog barks", "music", 5), Wish("Rain, on a Roof!", "music", 5)]
    assert orders[1].name.startswith("rain-on-a-roof-")


def test_a_table_may_name_sounds_and_give_them_seeds_of_their_own(tmp_path):
    (tmp_path / "p.csv").write_text("name,prompt,negative,seed\nbell,a bell,hum,7\n,rain,,\n")
    orders = read_prompts(tmp_path / "p.csv", "music", 5)
    assert [order.wish for order in orders] == [Wish("a bell", "hum", 7), Wish("rain", "music", 5)]
    assert orders[0].name == "bell"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.txt", " \n", "holds no prompts; write one on each line"),
        ("p.csv", "text\nrain\n", "holds no prompts"),
        ("p.csv", "prompt,name\nrain,../up\n", "prompt 1 has the name '../up', which is no plain file name"),
        ("p.csv", "prompt,name\nrain,.hidden\n", "no plain file name"),
        ("p.csv", "prompt,name\nrain,a\nwind,A\n", "two sounds would be called 'a'"),
        ("p.csv", "prompt\nrain\n \n", "prompt 2 is empty"),
        ("p.csv", "prompt,seed\nrain,-1\n", "prompt 1 has the seed '-1'; a whole number"),
        ("p.txt", "rain\nrain\n", "two sounds would be called 'rain-"),
        ("none.txt", None, "none.txt: cannot be read"),
    ],
)
def test_what_is_no_file_of_prompts_is_named(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=words):
        read_prompts(tmp_path / name)


def test_a_folder_is_gone_on_with(tmp_path):
    maker, plan = Hummer(), make_plan(steps=5)
    written, new = write_sounds(maker, ORDERS, tmp_path / "out", plan, progress=False)
    assert (new, [one.path.name for one in written]) == (2, [ORDERS[0].name + ".wav", "wet.wav"])
    with (tmp_path / "out" / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["prompt"], row["negative"], row["seed"]) for row in rows][1] == ("wet.wav", "rain", "wind", "3")
    again = write_sounds(maker, ORDERS, tmp_path / "out", plan, progress=False)
    assert again == (written, 0)
    (tmp_path / "out" / "wet.wav").unlink()
    assert write_sounds(maker, ORDERS, tmp_path / "out", plan, progress=False)[1] == 1
    assert write_sounds(maker, ORDERS, tmp_path / "out", make_plan(steps=6), progress=False)[1] == 2
    assert write_sounds(maker, [order_of(Wish("wind"))], tmp_path / "out", plan, progress=False)[1] == 1
    with (tmp_path / "out" / TABLE).open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


def test_what_was_made_before_a_break_stays(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        write_sounds(Hummer(break_at=1), ORDERS, tmp_path, Plan(), progress=False)
    assert sorted(os.listdir(tmp_path)) == sorted([ORDERS[0].name + ".wav", TABLE])
    assert write_sounds(Hummer(), ORDERS, tmp_path, Plan(), progress=False)[1] == 1


def test_no_row_vouches_for_a_sound_that_is_being_replaced(tmp_path):
    """A kill may come between a new file and the next writing of the table."""
    write_sounds(Hummer(), ORDERS, tmp_path, make_plan(steps=5), progress=False)

    class Killed(Hummer):
        def make(self, *args):
            for i, made in enumerate(super().make(*args)):
                with (tmp_path / TABLE).open(newline="") as file:
                    assert len(list(csv.DictReader(file))) == (2 if i == 0 else 0)
                yield made

    assert write_sounds(Killed(), ORDERS, tmp_path, make_plan(steps=6), progress=False)[1] == 2


def test_another_reference_makes_other_sounds(tmp_path):
    maker = Hummer()
    tones = [np.sin(np.arange(8_000) * step).astype(np.float32) for step in (0.1, 0.2)]
    for tone, new in ((tones[0], 2), (tones[0], 0), (tones[1], 2)):
        assert write_sounds(maker, ORDERS, tmp_path, Plan(), reference_of(tone, maker.geometry), progress=False)[1] == new


def test_one_sound_goes_to_a_file(tmp_path):
    one = write_one(Hummer(), Wish("rain"), tmp_path / "new" / "rain.flac", Plan(seconds=0.5), progress=False)
    assert (one.path, one.seconds) == (tmp_path / "new" / "rain.flac", 0.5)
    assert len(decode(one.path).samples) == 8_000
    assert os.listdir(one.path.parent) == ["rain.flac"]


def test_places_that_cannot_be_written_are_named_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    maker = Hummer(break_at=0)
    with pytest.raises(UsageError, match="file: is a file; name a folder"):
        write_sounds(maker, ORDERS, tmp_path / "file", Plan(), progress=False)
    for place in (tmp_path / "file" / "a.wav", tmp_path / "a.wav"):
        (tmp_path / "a.wav").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="a.wav: cannot be written; choose another place"):
            write_one(maker, Wish("rain"), place, Plan(), progress=False)
    with pytest.raises(UsageError, match="sounds end in .wav or .flac, not in '.mp3'"):
        write_sounds(maker, ORDERS, tmp_path, Plan(), ending=".mp3", progress=False)
    with pytest.raises(UsageError, match="a prompt is empty"):
        write_sounds(maker, [order_of(Wish(" "), "a")], tmp_path / "new", Plan(), progress=False)
    assert not (tmp_path / "new").exists()
    (tmp_path / TABLE).write_text("file,prompt\na.wav,rain\n")
    with pytest.raises(AudiojaxError, match=r"sounds.csv: is damaged"):
        write_sounds(maker, ORDERS, tmp_path, Plan(), progress=False)
