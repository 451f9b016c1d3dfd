"""Clips side by side: which of them, in what order, and what the tagger hears in each."""

from pathlib import Path

import numpy as np
import pytest

from audiojax.api.making.listening import HEARD, side_by_side
from audiojax.api.making.sound_backbone import Features
from audiojax.api.making.sound_measures import Measured
from audiojax.api.making.sound_sets import SoundSet
from audiojax.audio.reasons import AudioFileError, BadAudio
from audiojax.data.soundworld.classes import names
from audiojax.metrics.generation.frechet import Moments

RATE, CLASSES = 16_000, names()
IDS = [f"c{i}" for i in range(2 * HEARD)]


def measured(level, *tags, more=0):
    """A set of constant sounds in all of which the same tags are the likeliest, the first most."""
    logits = np.zeros((len(IDS), len(CLASSES) + more), np.float32)
    logits[:, [CLASSES.index(tag) for tag in tags]] = 5 - np.arange(len(tags))
    features = Features(IDS, np.zeros((len(IDS), 3)), logits, Moments(3), [], [])
    return Measured(SoundSet("a set", IDS, lambda ids: ((np.full(4, level + int(own[1:])), RATE) for own in ids)), features)


def asking_for(*tags):
    return dict.fromkeys(IDS, np.isin(CLASSES, tags).astype(np.float32))


def test_each_clip_stands_beside_itself_with_what_is_heard():
    first, second, third = CLASSES[3], CLASSES[0], CLASSES[7]
    sets = {"made": measured(0, first, third), "real": measured(100, first, second, third)}
    page = side_by_side(sets, IDS, {"c0": "A bell."}, asking_for(first, second))
    assert len(page.sounds) == 2 * HEARD
    made, real = page.sounds[:2]
    assert (made.name, real.name, page.sounds[-1].name) == ("c0: made", "c0: real", f"{IDS[-1]}: real")
    assert (made.waveform[0], real.waveform[0], page.sounds[-1].waveform[0]) == (0, 100, 100 + len(IDS) - 1)
    shown = ", ".join(name.replace("_", " ") for name in (first, third))
    assert made.caption == f"A bell. · the tagger hears: {shown} (1 of 2 right)"
    assert real.caption.endswith("(2 of 2 right)")
    assert page.sounds[2].caption.startswith("the tagger hears")  # a clip without a prompt


@pytest.mark.parametrize("labels", [{}, {IDS[0]: np.ones(len(CLASSES))}])
def test_without_the_truth_of_all_clips_nothing_is_said(labels):
    page = side_by_side({"made": measured(0, CLASSES[0])}, IDS, {"c0": "A bell."}, labels)
    assert [one.caption for one in page.sounds] == ["A bell."] + [""] * (HEARD - 1)


def test_tags_of_other_classes_are_no_verdict():
    page = side_by_side({"made": measured(0, CLASSES[0], more=1)}, IDS, {}, asking_for(CLASSES[0]))
    assert {one.caption for one in page.sounds} == {""}


def test_a_sound_that_has_gone_is_named():
    one = measured(0, CLASSES[0])
    gone = Measured(SoundSet("a set", IDS, lambda ids: iter([BadAudio(Path("c0.wav"), "missing", "it has gone")] * len(ids))), one.features)
    with pytest.raises(AudioFileError, match="c0.wav"):
        side_by_side({"made": gone}, IDS, {}, {})
