"""What the api makes of a split before a model sees it."""

import multiprocessing
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from audiojax.api.data import clip_batches, example_rows, make_tokenizer, make_transform, open_split, training_stream
from audiojax.config import installed_configs, load_config, to_dict
from audiojax.data.examples import CaptionSource, MemorySource
from audiojax.data.soundworld import builder
from audiojax.data.soundworld.classes import CLASSES
from audiojax.data.soundworld.scenes import ACTIVITY_STEP, Scene
from audiojax.errors import UsageError
from tests.data.test_pipeline import Clips
from tests.data.test_transforms import Letters, make


class Told:
    """Clips whose sound must not be read."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        raise AssertionError("only captions are wanted")

    def facts(self, index):
        return {"captions": [f"a dog barks {index} times", "rain falls"]}


@pytest.mark.parametrize("source", [Told(), MemorySource(Told())])
def test_the_tokenizer_learns_from_captions_alone(tmp_path, source):
    tokenizer = make_tokenizer({"tokenizer": {"folder": "", "vocab_size": 80}}, source, tmp_path / "tokenizer")
    ids, _ = tokenizer.encode(["rain falls", "a dog"], 8)
    assert tokenizer.backend.unk_token_id not in ids


def test_models_of_text_read_no_sound(tmp_path):
    source = CaptionSource(Told())
    transform = make_transform(to_dict(load_config("towers/soundworld:bert"))["data"], Letters())
    (batch,) = clip_batches(source, transform, 3)
    assert batch.keys() == {"text_ids", "text_mask", "clip_index", "valid"}
    assert batch["text_ids"].shape == (3, 2, 32)
    data = to_dict(load_config("towers/soundworld:bert", ["data.source=memory", "data.size=0.004"]))["data"]
    assert open_split(data, "train")[0].keys() == {"captions"}
    assert "audio" in open_split({**data, "audio": True}, "train")[0]


def test_worker_processes_are_a_config_key_and_change_no_batch(tmp_path):
    folder = builder.build("0.004", "studio", tmp_path, splits=["train"], workers=1, progress=False)
    overrides = ("data.source=tfds", f"data.dir={folder}", "data.in_memory=False", "data.mode=random", "data.captions=0")
    with_workers = to_dict(load_config("diffatr/soundworld:debug", [*overrides, "data.workers=1"]))
    source = open_split(with_workers["data"], "train")
    transform = make_transform(with_workers["data"], make_tokenizer(with_workers, source, tmp_path / "tokenizer"))

    example = example_rows(with_workers, source, transform)
    assert example["waveform"].shape == (1, 61_440)
    assert not multiprocessing.active_children()
    alone = {**with_workers, "data": {**with_workers["data"], "workers": 0}}
    with (
        closing(training_stream(alone, source, transform, 4, 0)) as expected,
        closing(training_stream(with_workers, source, transform, 4, 0)) as batches,
    ):
        for _ in range(2):
            one, other = next(batches), next(expected)
            assert one.keys() == other.keys() == {"waveform", "text_ids", "text_mask", "clip_index"}  # what a step reads, no more
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
        assert len(multiprocessing.active_children()) == 1


def test_what_data_were_made_from_is_part_of_what_they_are(tmp_path):
    """A corrected list may give records of the same sizes."""
    folder = builder.build("0.004", "studio", tmp_path, splits=["train"], workers=1, progress=False)
    data = to_dict(load_config("diffatr/soundworld:debug", ["data.source=tfds", f"data.dir={folder}"]))["data"]
    before = open_split(data, "train").identity()
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.move(folder, tmp_path / "elsewhere" / folder.name))
    assert open_split({**data, "dir": str(moved)}, "train").identity() == before
    (moved / "metadata.json").write_text('{"content": "another list"}')
    assert open_split({**data, "dir": str(moved)}, "train").identity() != before


@pytest.mark.parametrize("name", installed_configs())
def test_no_installed_config_keeps_clips_in_several_processes(name):
    data = load_config(name).data
    assert not (data.in_memory and data.workers)


def test_unequal_captions_are_told_to_whoever_asks_for_clips():
    assert next(iter(clip_batches(Clips(), make(), 4)))["text_ids"].shape == (4, 2, 4)
    with pytest.raises(UsageError, match="1 has 3 .'c3'"):
        clip_batches(Clips(odd=True), make(), 4)


def test_a_tagger_sees_both_domains_and_the_classes_that_sound():
    overrides = ("data.source=memory", "data.domain=studio+field")
    config = to_dict(load_config("diffatr/soundworld:debug", overrides))
    source = open_split(config["data"], "val")
    half = len(source) // 2
    assert [source[i]["id"].split("-")[0] for i in (0, half - 1, half, 2 * half - 1)] == ["studio", "studio", "field", "field"]
    transform = make_transform(config["data"] | {"labels": True}, None)
    for i in (0, half):
        labels, scene = transform.labels(source[i]), Scene.parse(source[i]["scene"])
        assert labels.shape == (round(scene.seconds / ACTIVITY_STEP), len(CLASSES))
        assert {CLASSES[j].name for j in np.flatnonzero(labels.max(axis=0))} == {event.name for event in scene.events}
        for event in scene.events:
            steps = np.flatnonzero(labels[:, [c.name for c in CLASSES].index(event.name)]) * ACTIVITY_STEP
            assert steps[0] <= event.onset + 1e-6
            assert event.offset <= steps[-1] + ACTIVITY_STEP + 1e-6
    with pytest.raises(UsageError, match="clip 'x' has no SoundWorld scene"):
        transform.labels({"id": "x", "scene": ""})
