"""Diffusion-Link from a config to captions: both phases, decoders on one link, and a LLaMA that stays in its folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

import audiojax
from audiojax.api.data import open_split
from audiojax.api.describing.link_captioning import LinkCaptioner
from audiojax.cli import main
from audiojax.config import to_dict
from audiojax.data.examples import captions_of
from audiojax.errors import AudiojaxError, UsageError
from audiojax.folders import cache_home
from audiojax.models import llama
from audiojax.models.llama import Llama, LlamaConfig
from audiojax.partition import flat_paths
from audiojax.pretrained.llama_lora import add_adapter
from audiojax.pretrained.publish import publish_tower
from audiojax.text.tokenizer import CLS, SEP, Tokenizer
from audiojax.towers.llama import LlamaTower
from audiojax.trainer.export import load_export
from audiojax.trainer.interrupt import RunInterrupted
from audiojax.trainer.loop import Signals
from tests.encoders.filling import filled_variables, token_batch
from tests.papers.diffusion_link.small import config_of, save_clap, shrink

WORLD = ("data.source=memory", "data.size=0.006", "link.batch_size=8", "decoder.batch_size=8", "data.statistics_examples=16")
SIZES = ("link.steps=2", "decoder.steps=2", "caption.max_tokens=12", "caption.max_new_tokens=6", "model.prefix.hidden=12")
TINY = (*WORLD, *SIZES)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def small_models(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        small = LlamaConfig(width=16, layers=1, heads=2, kv_heads=1, head_width=8, hidden=16, max_positions=40)
        patch.setitem(llama.PRESETS, "soundworld", small)
        patch.setenv("AUDIOJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def overrides(tmp_path_factory, small_models):
    """CLAP and LLaMA with random weights, and one tokenizer."""
    root = tmp_path_factory.mktemp("towers")
    source = open_split(to_dict(config_of(*WORLD))["data"], "train")
    clap = save_clap(root, [text for i in range(len(source)) for text in captions_of(source, i)])
    tokenizer = Tokenizer.load(root / "tokenizer")
    module = Llama(LlamaConfig(**{**vars(llama.PRESETS["soundworld"]), "vocab_size": tokenizer.vocab_size}))
    weights = filled_variables(module, *token_batch(1, 4, 50))
    tower = LlamaTower(module, module.config, weights, None, Path("run"), "", tokenizer, (CLS,), (SEP,))
    publish_tower(tower, "llama", root / "llama", tokenizer, 12)
    return (*TINY, f"init.clap={clap}", f"init.llama={root / 'llama'}")


@pytest.fixture(scope="module")
def run(tmp_path_factory, overrides):
    workdir = tmp_path_factory.mktemp("run") / "work"
    audiojax.train(config_of(*overrides, "model.llama_stored=folder", words="debug,decoder"), workdir, progress=False)
    return workdir


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    source = open_split(to_dict(config_of(*WORLD))["data"], "test")
    for i in range(3):
        soundfile.write(folder / f"clip{i}.wav", source[i]["audio"], source[i]["sample_rate"])
    return folder


def test_it_describes_files_from_python_and_from_the_command_line(run, sounds, tmp_path, capsys):
    captioner = audiojax.load(run)
    assert isinstance(captioner, LinkCaptioner)
    assert captioner.defaults.keys() == {"beams", "length_penalty", "temperature", "top_p"}
    paths = sorted(sounds.iterdir())
    together = captioner.caption(paths)
    assert [one.text for one in captioner.caption(paths[1:2])] == [together[1].text]
    assert all(0 < one.confidence <= 1 for one in together)
    assert len(captioner.caption(paths, candidates=2, top_p=0.9)) == 6
    with pytest.raises(UsageError, match="steps: .* does not take it; it takes .*beams"):
        captioner.options(steps=3)
    assert main(["caption", str(sounds), "--model", str(run), "--out", f"{tmp_path}/c.csv", "--beams", "2", "--quiet"]) == 0
    assert "3 captions of 3 files" in capsys.readouterr().out
    assert main(["evaluate", "--workdir", str(run), "--split", "val", "--beams", "1", "--quiet"]) == 0
    stored = json.loads((run / "evaluation" / "val-beams=1" / "scores.json").read_text())
    assert {"cider_d", "event_f1", "parses"} <= stored["scores"].keys()


def test_its_bridge_also_works_alone(run):
    bridge = audiojax.load_bridge(run)
    made = bridge.bridge(np.eye(bridge.width, dtype=np.float32)[:3])
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, rtol=1e-5)
    source = open_split(to_dict(config_of(*WORLD))["data"], "test")
    found = bridge.predictions(source)
    assert found["bridged"].shape == found["audio"].shape == (len(source), bridge.width)


def test_a_llama_in_its_folder_is_named_and_not_stored(run, overrides, sounds, tmp_path):
    model = load_export(run / "final")
    assert model.params.keys() == {"towers", "bridge", "adapter", "head"}
    folder = overrides[-1].removeprefix("init.llama=")
    assert model.card["outside"]["llama"]["name"] == folder
    whole = audiojax.load(run)
    for path, leaf in flat_paths(audiojax.load_pretrained(folder, progress=False).params["params"]).items():
        np.testing.assert_array_equal(flat_paths(whole.params["llama"])[path], leaf)
    kernel = whole.params["llama"]["layer_0"]["attention"]["query"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // jax.device_count()  # split, and not eight times there
    files = sorted(sounds.iterdir())
    on_each = LinkCaptioner(replace(model, params=jax.tree.map(np.asarray, whole.params), card={}), "")
    assert [one.text for one in whole.caption(files)] == [one.text for one in on_each.caption(files)]
    assert audiojax.load(audiojax.export(run, tmp_path / "out")).params.keys() == whole.params.keys()

    other = tmp_path / "llama"
    shutil.copytree(folder, other)
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-4] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    card["outside"]["llama"]["name"] = str(other)
    (tmp_path / "out" / "card.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match=r"llama: holds other weights .* its adapters fit these alone"):
        audiojax.load(tmp_path / "out")
    (other / "model.safetensors").unlink()
    with pytest.raises((UsageError, AudiojaxError), match="llama"):
        audiojax.load(tmp_path / "out")


def test_a_stopped_run_restores_its_adapters_and_reads_the_llama_from_its_folder(run, overrides, tmp_path, monkeypatch):
    """It ends where an unbroken one does, to the bit; another LLaMA in the folder by then is found out."""
    folder = tmp_path / "llama"
    shutil.copytree(overrides[-1].removeprefix("init.llama="), folder)
    often = ("train.save_every=1", "model.llama_stored=folder", f"init.llama={folder}")
    config, asked = config_of(*overrides, *often, words="debug,decoder"), []
    with monkeypatch.context() as patch:
        patch.setattr(
            Signals, "agreed", lambda self, ask: 15 * (asked.append(ask) or len(asked) == 3)
        )  # SIGTERM in the decoder's first step
        with pytest.raises(RunInterrupted):
            audiojax.train(config, tmp_path / "work", progress=False)
    saved = tmp_path / "work" / "checkpoints" / "decoder"
    weights = (folder / "model.safetensors").read_bytes()
    kept = "".join(path.read_text() for path in saved.rglob("_METADATA"))
    assert "adapter" in kept
    assert "llama" not in kept
    (folder / "model.safetensors").write_bytes(weights[:-4] + bytes([weights[-4] ^ 1]) + weights[-3:])
    with pytest.raises(UsageError, match="the frozen parameters differ from those of the saved run"):
        audiojax.train(config, tmp_path / "work", progress=False)
    (folder / "model.safetensors").write_bytes(weights)
    ours, theirs = load_export(audiojax.train(config, tmp_path / "work", progress=False)).params, load_export(run / "final").params
    assert "llama" not in ours
    for path, leaf in flat_paths(theirs).items():
        np.testing.assert_array_equal(flat_paths(ours)[path], leaf, err_msg=path)


def test_its_adapters_are_exported_for_peft(run, overrides, tmp_path):
    """A LLaMA with these beside it says what the run's own does."""
    model = load_export(run / "final")
    audiojax.export(run, tmp_path / "adapter", "safetensors")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    tower = add_adapter(audiojax.load_pretrained(overrides[-1].removeprefix("init.llama=")), tmp_path / "adapter")
    for path, leaf in flat_paths(model.params["adapter"]).items():
        np.testing.assert_array_equal(flat_paths(tower.params["params"])[path], leaf, err_msg=path)
    with pytest.raises(UsageError, match="holds something already"):
        audiojax.export(run, tmp_path / "adapter", "safetensors")


def test_an_evaluation_shows_the_gap_beside_the_captions(run):
    found = audiojax.evaluate(run, progress=False)
    assert "The gap between sounds and texts" in [section.title for section in found.sections]
    assert "along the gap" in found.report.read_text(encoding="utf-8")


def test_several_decoders_stand_on_one_link(overrides, tmp_path):
    audiojax.train(config_of(*overrides), tmp_path / "link", progress=False)
    link = load_export(tmp_path / "link" / "final")
    on_link = (*overrides, f"init.start={tmp_path / 'link'}", "phases=('decoder',)")
    for learn_from in ("text", "audio"):
        config = config_of(*on_link, f"caption.learn_from={learn_from}", words="debug,decoder")
        model = load_export(audiojax.train(config, tmp_path / learn_from, progress=False))
        assert model.params.keys() == {"towers", "bridge", "llama", "adapter", "head"}
        for branch in ("towers", "bridge"):
            jax.tree.map(np.testing.assert_array_equal, dict(model.params[branch]), dict(link.params[branch]))
        jax.tree.map(np.testing.assert_array_equal, dict(model.model_state), dict(link.model_state))
        assert model.card["started from"].keys() == {"clap", "llama", "start"}  # CLAP's own hash, by which indexes are told
    states = {path.name for path in (cache_home() / "states").iterdir()}
    for change, key in (
        ("bridge.form=one_step", "bridge.form"),
        ("bridge.scale=3.0", "bridge.scale"),
        ("noise.schedule=linear", "noise.schedule"),
    ):
        with pytest.raises(UsageError, match=f"config key '{key}' is .*, and the bridge of init.start was made with"):
            audiojax.train(config_of(*on_link, change, words="debug,decoder"), tmp_path / "odd", progress=False)
    assert {path.name for path in (cache_home() / "states").iterdir()} == states


def test_a_tokenizer_that_does_not_match_is_refused(overrides, tmp_path):
    folder = tmp_path / "llama"
    shutil.copytree(overrides[-1].removeprefix("init.llama="), folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    with pytest.raises(UsageError, match="has no tokenizer beside its weights"):
        audiojax.train(config_of(*overrides, f"init.llama={folder}", words="debug,decoder"), tmp_path / "a", progress=False)
    Tokenizer.train(["".join(map(chr, range(97, 123))), *(f"word{i}" for i in range(2_000))], 3_000).save(folder)
    with pytest.raises(UsageError, match=r"the tokenizer has \d+ tokens, and the LLaMA's word table \d+ rows"):
        audiojax.train(config_of(*overrides, f"init.llama={folder}", words="debug,decoder"), tmp_path / "b", progress=False)
    with pytest.raises(UsageError, match="ends a text with id 3; config key 'model.end' is 2"):
        audiojax.train(config_of(*overrides, "model.end=2", words="debug,decoder"), tmp_path / "c", progress=False)
    assert not any((tmp_path / name).exists() for name in "abc")
