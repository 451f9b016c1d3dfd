"""DAC from towers to a finished run: what is stored of a clip, statistics beside the config, and a run that goes on from another."""

import json

import jax
import numpy as np
import pytest

import audiojax
from audiojax.api.data import make_tokenizer, make_transform, open_split
from audiojax.api.start import start_of
from audiojax.api.states import stored_states
from audiojax.config import to_dict
from audiojax.data.examples import captions_of
from audiojax.data.transforms import StatesTransform
from audiojax.errors import UsageError
from audiojax.papers import PAPERS
from audiojax.trainer.export import load_export
from tests.papers.dac.small import config_of, save_runs, shrink

WORLD = ("data.source=memory", "data.size=0.006", "data.seconds=3.84", "train.eval_batch_size=8", "data.statistics_examples=16")
BATCHES = ("head.batch_size=8", "diffusion.batch_size=8", "autoregressive.batch_size=8")
TINY = (*WORLD, *BATCHES, "head.steps=2", "diffusion.steps=2", "autoregressive.steps=2")


@pytest.fixture(scope="module", autouse=True)
def small_towers(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setenv("AUDIOJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def overrides(tmp_path_factory, small_towers):
    source = open_split(to_dict(config_of(*WORLD))["data"], "train")
    captions = [text for i in range(len(source)) for text in captions_of(source, i)]
    audio, text = save_runs(tmp_path_factory.mktemp("towers"), captions)
    return (*TINY, f"init.audio={audio}", f"init.text={text}")


@pytest.fixture(scope="module")
def run(tmp_path_factory, overrides):
    workdir = tmp_path_factory.mktemp("run") / "work"
    audiojax.train(config_of(*overrides), workdir, progress=False)
    return workdir


@pytest.mark.slow
def test_clips_are_stored_as_tokens_and_captions_as_ids(overrides, tmp_path):
    config = to_dict(config_of(*overrides))
    source = open_split(config["data"], "val")
    tokenizer = make_tokenizer(config, None, tmp_path / "none")
    paper, transform = PAPERS["dac"], make_transform(config["data"], tokenizer)
    abstract = jax.eval_shape(paper.make_task(config, "head", vocab_size=tokenizer.vocab_size).init, jax.random.key(0), {})
    start = start_of(paper, config, abstract, progress=False)
    found = stored_states(config, paper.encoders(config, vocab_size=tokenizer.vocab_size), start, source, transform, "val", progress=False)
    record, example = found[1], transform(source[1], 1, -1)
    assert record.keys() == {"id", "captions", "audio_values", "audio_mask", "text_ids", "text_mask"}
    assert record["audio_values"].dtype == np.float16
    np.testing.assert_array_equal(record["text_ids"], example["text_ids"])
    np.testing.assert_array_equal(StatesTransform()(record, 1, 2)["text_mask"], example["text_mask"][2])


@pytest.mark.slow
def test_a_run_keeps_the_statistics_of_its_latent_space(run):
    stored = json.loads((run / "statistics.json").read_text())["measured"]
    model = load_export(run / "final")
    np.testing.assert_array_equal(model.model_state["latent"]["std"], np.float32(stored["latent/std"]))
    assert model.params.keys() == {"towers", "head", "diffuser"}
    card = json.loads((run / "final" / "card.json").read_text())
    assert card["started from"].keys() == {"audio", "text"}
    assert "captions/cider_d" in card["validation"]


@pytest.mark.slow
def test_a_run_goes_on_from_another(run, overrides, tmp_path):
    """With its towers, tokenizer and latent space; the names of the towers in the config are not read."""
    further = (*overrides, f"init.start={run}", "init.audio=nothing", "diffusion.groups.everything.lr=0.0", "train.ema_decay=0.0")
    final = audiojax.train(config_of(*further, "phases=('diffusion',)"), tmp_path / "more", progress=False)
    before, after = load_export(run / "final"), load_export(final)
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)
    jax.tree.map(np.testing.assert_array_equal, after.model_state, before.model_state)
    assert not (tmp_path / "more" / "statistics.json").exists()
    assert json.loads((final / "card.json").read_text())["started from"].keys() == {"audio", "text", "start"}
    with pytest.raises(UsageError, match="init.start: .* does not fit the model: .* diffuser/.* those that follow its last one"):
        audiojax.train(config_of(*further), tmp_path / "other", progress=False)


@pytest.mark.slow
def test_a_tower_is_no_run_to_go_on_from(overrides, tmp_path):
    tower = next(x for x in overrides if x.startswith("init.text=")).removeprefix("init.text=")
    with pytest.raises(UsageError, match="init.start: .* holds a 'towers' model, and this config trains 'dac'"):
        audiojax.train(config_of(*overrides, f"init.start={tower}"), tmp_path / "run", progress=False)


@pytest.mark.slow
def test_the_rival_is_trained_on_the_same_tokens(overrides, tmp_path):
    final = audiojax.train(config_of(*overrides, words="debug,rival"), tmp_path / "run", progress=False)
    assert load_export(final).params.keys() == {"towers", "autoregressive"}
