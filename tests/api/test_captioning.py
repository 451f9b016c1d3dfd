"""How sounds of any number, length and health become captions; the model is a stand-in."""

import itertools

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audiojax.api.describing import captioning
from audiojax.api.describing.captioning import Row, caption_files, describe_rows, row_seed, sound_digest
from audiojax.audio.reasons import AudioFileError, BadAudio, Reason, ReasonCounter
from audiojax.errors import UsageError
from tests.api.captioner import RATE, Parrot, windows_here
from tests.index.sounds import write


@pytest.fixture
def here(monkeypatch):
    """Decodes in this process."""
    monkeypatch.setattr(captioning, "window_files", windows_here)


@pytest.fixture
def sounds(tmp_path):
    """One second, 0.1 s, 2.5 s whose middle is silent, silence, damage, and a file that is not there."""
    write(tmp_path / "one.wav", 0.3)
    write(tmp_path / "short.wav", 0.7, RATE // 10)
    long = np.concatenate([np.full(RATE, 0.2), np.zeros(RATE), np.full(RATE // 2, 0.4)])
    soundfile.write(tmp_path / "long.wav", long, RATE, subtype="FLOAT")
    write(tmp_path / "silent.wav", 0.0)
    (tmp_path / "broken.wav").write_bytes(b"RIFF not a sound")
    return [tmp_path / f"{name}.wav" for name in ("one", "short", "long", "silent", "broken", "nowhere")]


def test_each_window_with_sound_has_a_caption_and_each_bad_file_a_reason(sounds):
    tally, model = ReasonCounter(), Parrot()
    found = model.caption(sounds, tally=tally)
    assert [(one.path.stem, one.start, one.end, one.text[:9]) for one in found] == [
        ("one", 0.0, 1.0, "level 0.3"),
        ("short", 0.0, 0.1, "level 0.7"),
        ("long", 0.0, 1.0, "level 0.2"),
        ("long", 1.5, 2.5, "level 0.4"),
    ]
    assert tally.used == 3
    assert tally.counts() == {"missing": 1, "silent": 1, "undecodable": 1}
    assert model.shapes == [(4, RATE)]


@pytest.mark.usefixtures("here")
def test_without_a_tally_a_bad_file_is_an_error(sounds):
    with pytest.raises(AudioFileError, match="broken.wav: undecodable"):
        Parrot().caption([sounds[0], sounds[4]])
    with pytest.raises(AudioFileError, match="silent.wav: silent"):
        Parrot().caption(sounds[3:4])


def test_a_file_that_ends_in_damage_has_no_caption(tmp_path):
    write(tmp_path / "whole.wav", 0.3, 3 * RATE)
    content = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) // 2])
    tally = ReasonCounter()
    found = Parrot().caption([tmp_path / "cut.wav", tmp_path / "whole.wav"], tally=tally)
    assert {one.path.stem for one in found} == {"whole"}
    assert tally.counts() == {"truncated": 1}


@pytest.mark.usefixtures("here")
def test_all_batches_have_one_shape_and_a_small_job_a_small_one(sounds):
    for count, candidates, expected in ((1, 1, [1]), (1, 3, [4]), (1, 5, [8]), (3, 5, [8, 8, 8])):
        model = Parrot()
        model.caption(sounds[:count], candidates=candidates, batch_size=8)
        assert [shape[0] for shape in model.shapes] == expected
    model = Parrot(devices=3)
    model.caption(sounds[:1], candidates=5, batch_size=4)
    assert [shape[0] for shape in model.shapes] == [6]


@pytest.mark.usefixtures("here")
def test_a_caption_depends_on_sound_seed_and_candidate_alone(sounds, tmp_path):
    together = Parrot().caption(sounds[:3], candidates=8, batch_size=16)
    apart = [one for path in sounds[:3] for one in Parrot().caption([path], candidates=8, batch_size=3)]
    assert together == apart
    assert len({one.text for one in together[:8]}) > 1
    write(tmp_path / "elsewhere" / "other name.wav", 0.3)
    moved = Parrot().caption([tmp_path / "elsewhere" / "other name.wav"], candidates=8)
    assert [one.text for one in moved] == [one.text for one in together[:8]]
    other = Parrot().caption(sounds[:1], candidates=8, seed=1)
    assert [one.text for one in other] != [one.text for one in together[:8]]


@pytest.mark.usefixtures("here")
def test_options_are_the_models_own_unless_chosen(sounds):
    model = Parrot()
    model.caption(sounds[:1], steps=3, guidance=None)
    assert model.chosen == [{"steps": 3, "guidance": 1.0}]
    with pytest.raises(UsageError, match="top-p: runs/parrot does not take it; it takes steps, guidance"):
        model.caption(sounds[:1], top_p=0.5)
    with pytest.raises(UsageError, match="candidates = 0"):
        model.caption(sounds[:1], candidates=0)


@pytest.mark.usefixtures("here")
def test_known_captions_are_not_written_again_where_the_samples_are_the_same(sounds):
    first = Parrot().caption(sounds[2:3], candidates=3)
    known = {(str(sounds[2]), start): list(group) for start, group in itertools.groupby(first, key=lambda one: one.start)}
    model = Parrot()
    again = list(caption_files(model, sounds[2:3], candidates=2, seed=0, options=model.options(), known=known))
    assert [value for _, value in again] == [*first, None]
    assert model.shapes == []
    write(sounds[2], 0.9, 5 * RATE // 2)
    more = [value for _, value in caption_files(model, sounds[2:3], candidates=1, seed=0, options=model.options(), known=known)]
    assert [(one.start, one.candidate) for one in more[:-1]] == [(0.0, 0), (1.0, 0), (1.5, 0)]
    assert all(one.text.startswith("level 0.9") for one in more[:-1])


@pytest.mark.usefixtures("here")
def test_events_come_in_the_order_of_the_files(sounds):
    events = list(caption_files(Parrot(), sounds, candidates=2, seed=0, options={}, batch_size=1))
    assert [path.stem for path, _ in events] == ["one"] * 3 + ["short"] * 3 + ["long"] * 5 + ["silent", "broken", "nowhere"]
    assert [value.reason for _, value in events[-3:] if isinstance(value, BadAudio)] == [Reason.SILENT, Reason.UNDECODABLE, Reason.MISSING]


@given(levels=st.lists(st.floats(0.1, 1.0), max_size=40), size=st.integers(1, 9), devices=st.integers(1, 4))
def test_every_row_is_described_once_and_in_order(levels, size, devices):
    model = Parrot(samples=2, devices=devices)
    rows = [Row(number, np.full(2, level, np.float32), number) for number, level in enumerate(levels)]
    found = list(describe_rows(model, iter(rows), {}, size))
    assert [row.key for row, _ in found] == list(range(len(levels)))
    assert [said.text.split()[1] for _, said in found] == [f"{np.float32(level):.1f}" for level in levels]
    assert len(set(model.shapes)) == (1 if levels else 0)
    assert all(rows % devices == 0 and rows < size + devices for rows, _ in model.shapes)


def test_seeds_differ_by_sound_seed_and_candidate():
    digests = [sound_digest(np.full(4, level, np.float32)) for level in (0.1, 0.2)]
    seeds = [row_seed(digest, seed, candidate) for digest in digests for seed in range(20) for candidate in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
