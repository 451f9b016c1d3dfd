"""States of frozen towers: computed once for some weights and data, stored whole, and the same however they were made."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from audiojax.api import states
from audiojax.api.data import make_tokenizer, make_transform, open_split
from audiojax.api.start import start_of
from audiojax.api.states import stored_states
from audiojax.config import to_dict
from audiojax.data.examples import MemorySource, captions_of
from audiojax.data.sources import StoredStates
from audiojax.papers import PAPERS
from audiojax.papers.coattention import audio_states, make_settings, text_states
from tests.papers.coattention.towers import config_of, save_runs, shrink


@pytest.fixture(scope="module", autouse=True)
def small_towers():
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """(config, encoders, start, source, transform) of a split of a few clips."""
    root = tmp_path_factory.mktemp("towers")
    world = ("data.source=memory", "data.size=0.006", "data.states_dtype=float32")
    source = open_split(to_dict(config_of(*world))["data"], "val")
    audio, text = save_runs(root, [caption for i in range(len(source)) for caption in captions_of(source, i)])
    config = to_dict(config_of(*world, f"init.audio={audio}", f"init.text={text}"))
    tokenizer = make_tokenizer(config, None, root / "none")
    paper = PAPERS["coattention"]
    abstract = jax.eval_shape(paper.make_task(config, "contrastive", vocab_size=tokenizer.vocab_size).init, jax.random.key(0), {})
    start = start_of(paper, config, abstract, progress=False)
    encoders = paper.encoders(config, vocab_size=tokenizer.vocab_size)
    return config, encoders, start, source, make_transform(config["data"], tokenizer)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIOJAX_CACHE", str(tmp_path))
    return tmp_path / "states"


def made(setting, **changes):
    config, encoders, start, source, transform = setting
    source, transform = changes.pop("source", source), changes.pop("transform", transform)
    config = {**config, "data": config["data"] | changes}
    return stored_states(config, encoders, start, source, transform, "val", progress=False)


def test_what_is_stored_is_what_the_towers_give(setting, cache):
    config, _, start, source, transform = setting
    settings = make_settings(config, transform.tokenizer.vocab_size)
    found = made(setting)
    assert len(found) == len(source)
    for i in (0, len(source) - 1):
        example = transform(source[i], i, -1)
        audio = audio_states(
            settings, start.params, start.model_state, {"waveform": example["waveform"][None], "windows": example["windows"][None]}
        )
        text = text_states(settings, start.params, start.model_state, example)
        record = found[i]
        assert record["captions"] == list(source[i]["captions"])
        np.testing.assert_allclose(record["audio_values"], audio.values[0], rtol=2e-5, atol=2e-5)
        np.testing.assert_array_equal(record["audio_mask"], audio.mask[0])
        np.testing.assert_allclose(record["text_values"], text.values, rtol=2e-5, atol=2e-5)
        np.testing.assert_array_equal(record["text_mask"], text.mask)


def test_they_are_made_once(setting, cache, monkeypatch):
    first = made(setting)
    monkeypatch.setattr(states, "Runner", None)  # would fail if it were asked again
    again = made(setting)
    assert first.folder == again.folder
    assert json.loads((again.folder / "metadata.json").read_text())["identity"]
    for change in ({"states_dtype": "float16"}, {"transform": dataclasses.replace(setting[4], max_tokens=6)}):
        with pytest.raises(TypeError):
            made(setting, **change)


def test_clips_may_have_different_numbers_of_captions(setting, cache):
    class Fewer(MemorySource):
        def __getitem__(self, index):
            record = self.source[index]
            return {**record, "captions": record["captions"][: 1 + index % 3]}

        captions = None

        def identity(self):
            return "fewer"

    found = made(setting, source=Fewer(setting[3]), states_dtype="float16")
    whole = made(setting)
    assert [len(found[i]["text_mask"]) for i in range(3)] == [1, 2, 3]
    assert found[0]["text_values"].dtype == np.float16
    np.testing.assert_allclose(found[2]["text_values"], whole[2]["text_values"][:3], atol=5e-3, rtol=5e-3)


def test_a_stopped_call_goes_on(setting, cache, monkeypatch):
    monkeypatch.setattr("audiojax.data.shards.SHARD_ITEMS", 2)
    whole = made(setting, states_dtype="float16")
    before = {path.name: path.read_bytes() for path in whole.folder.iterdir()}
    lost = sorted(whole.folder.glob("*.array_record*"))[-1]
    lost.unlink()
    (whole.folder / "dataset_info.json").unlink()
    again = made(setting, states_dtype="float16")
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()}.keys() == before.keys()
    np.testing.assert_array_equal(StoredStates(again.folder, "val")[len(again) - 1]["audio_values"], again[len(again) - 1]["audio_values"])
    assert lost.read_bytes() == before[lost.name]
