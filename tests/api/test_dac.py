"""DAC from a config to a table of captions: training, opening, describing, evaluation, and a sweep."""

import json

import jax
import numpy as np
import pytest
import soundfile

import audiojax
from audiojax.api import loading
from audiojax.api.data import open_split
from audiojax.api.describing.dac_captioning import DacCaptioner
from audiojax.cli import main
from audiojax.config import load_config, to_dict
from audiojax.data.examples import captions_of
from audiojax.errors import UsageError
from audiojax.papers import dac
from audiojax.text.tokenizer import Tokenizer
from audiojax.trainer.export import export_model
from tests.encoders.filling import fill
from tests.papers.dac.small import save_runs, shrink

WORLD = ("data.source=memory", "data.size=0.006", "train.eval_batch_size=8", "head.batch_size=8", "diffusion.batch_size=8")
STEPS = ("head.steps=2", "diffusion.steps=2", "noise.steps=40", "inference.diffusion.steps=4", "inference.validation_steps=2")
TINY = (*WORLD, *STEPS, "data.max_tokens=12", "data.statistics_examples=16", "model.dropout=0.0")

pytestmark = pytest.mark.slow


def config_of(*overrides):
    return load_config("dac/soundworld:debug", overrides)


@pytest.fixture(scope="module", autouse=True)
def small_towers(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setenv("AUDIOJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def overrides(tmp_path_factory, small_towers):
    source = open_split(to_dict(config_of(*TINY))["data"], "train")
    captions = [text for i in range(len(source)) for text in captions_of(source, i)]
    audio, text = save_runs(tmp_path_factory.mktemp("towers"), captions)
    return (*TINY, f"init.audio={audio}", f"init.text={text}")


@pytest.fixture(scope="module")
def run(tmp_path_factory, overrides):
    workdir = tmp_path_factory.mktemp("run") / "work"
    audiojax.train(config_of(*overrides), workdir, progress=False)
    return workdir


@pytest.fixture
def talkative(tmp_path):
    """A model that was not trained, whose weights are such that its captions vary."""
    source = open_split(to_dict(config_of(*TINY))["data"], "test")
    tokenizer = Tokenizer.train([text for i in range(len(source)) for text in captions_of(source, i)], 200)
    tokenizer.save(tmp_path / "tokenizer")
    config = config_of(*TINY)
    task = dac.make_task(to_dict(config), "diffusion", vocab_size=tokenizer.vocab_size)
    made = fill(jax.eval_shape(task.init, jax.random.key(0), {}))
    made["params"] = jax.tree_util.tree_map_with_path(lambda path, x: 0 * x if path[-1].key == "bias" else x, made["params"])
    card = {"task": task.name, "step": 0, "choice": "raw"}
    return export_model(tmp_path / "model", **made, config=config, tokenizer=tmp_path / "tokenizer", card=card)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    source = open_split(to_dict(config_of(*TINY))["data"], "test")
    for i in range(3):
        soundfile.write(folder / f"clip{i}.wav", source[i]["audio"], source[i]["sample_rate"])
    soundfile.write(folder / "long.wav", np.concatenate([source[i]["audio"] for i in (0, 1)])[:100_000], 16_000)
    soundfile.write(folder / "short.flac", source[2]["audio"][:1_600], 16_000)
    return folder


def test_a_caption_is_the_same_in_every_batch_and_by_every_name(talkative, sounds):
    captioner = audiojax.load(talkative)
    assert isinstance(captioner, DacCaptioner)
    paths = sorted(sounds.iterdir())
    together = captioner.caption(paths, candidates=3, steps=3)
    assert [(one.path.name, one.start) for one in together if not one.candidate] == [
        ("clip0.wav", 0.0), ("clip1.wav", 0.0), ("clip2.wav", 0.0), ("long.wav", 0.0), ("long.wav", 2.41), ("short.flac", 0.0)
    ]  # fmt: skip
    by_place = {(one.path.name, one.start, one.candidate): one.text for one in together}
    assert by_place["long.wav", 0.0, 1] == by_place["clip0.wav", 0.0, 1]
    (alone,) = captioner.caption(paths[1:2], steps=3)
    assert alone.text == by_place["clip1.wav", 0.0, 0]
    assert alone.confidence == pytest.approx(next(one.confidence for one in together if one.path.name == "clip1.wav"), rel=1e-3)
    assert len(set(by_place.values())) > 5
    assert all(0 < one.confidence <= 1 for one in together)


def test_options_that_the_config_does_not_take(run):
    captioner = audiojax.load_captioner(run)
    assert captioner.defaults.keys() == {"sampler", "steps", "guidance", "eta", "time_offset"}
    for wrong, message in (
        ({"steps": 41}, "inference.diffusion.steps' is 41: 41 sampling steps do not fit 40 noise levels"),
        ({"sampler": "euler"}, "it takes one of renoise, ddim"),
        ({"beams": 3}, "beams: .* does not take it; it takes eta, guidance, sampler, steps"),
    ):
        with pytest.raises(UsageError, match=message):
            captioner.options(**wrong)
    with pytest.raises(UsageError, match="holds a DacCaptioner, which does not search"):
        loading.load_finder(run)


def test_the_command_line_describes_and_evaluates(run, sounds, tmp_path, capsys):
    words = ["caption", str(sounds), "--model", str(run), "--out", f"{tmp_path}/c.csv", "--steps", "2", "--guidance", "0", "--quiet"]
    assert main(words) == 0
    assert "6 captions of 5 files, 6 of them new" in capsys.readouterr().out
    assert main(words) == 0
    assert "6 captions of 5 files, 0 of them new" in capsys.readouterr().out
    assert main(["evaluate", "--workdir", str(run), "--split", "val", "--candidates", "2", "--steps", "2", "--quiet"]) == 0
    stored = json.loads((run / "evaluation" / "val-steps=2" / "scores.json").read_text())
    assert {"cider_d", "bleu_4", "rouge_l", "event_f1", "parses", "mtld", "div_1"} <= stored["scores"].keys()
    assert stored["speed"]["batch size"] == 8  # of 8 devices
    assert "Validation" in (run / "evaluation" / "val-steps=2" / "report.html").read_text()


def test_a_run_without_a_diffuser_does_not_describe(overrides, tmp_path):
    audiojax.train(config_of(*overrides, "phases=('head',)"), tmp_path / "run", progress=False)
    with pytest.raises(UsageError, match="cannot write yet: train its phase 'diffusion'"):
        audiojax.load(tmp_path / "run")


def test_the_rival_describes_too(overrides, sounds, tmp_path):
    config = load_config("dac/soundworld:debug,rival", [*overrides, "autoregressive.steps=2", "autoregressive.batch_size=8"])
    audiojax.train(config, tmp_path / "run", progress=False)
    captioner = audiojax.load(tmp_path / "run")
    assert captioner.defaults.keys() == {"beams", "length_penalty", "temperature", "top_p"}
    drawn = captioner.options(top_p=0.9)
    assert (drawn["beams"], drawn["temperature"], captioner.draws(drawn)) == (1, 1.0, True)
    paths = sorted(sounds.glob("clip*.wav"))
    found = captioner.caption(paths, candidates=2, top_p=0.9)
    assert [one.text for one in captioner.caption(paths[1:2], top_p=0.9)] == [found[2].text]
    assert len(captioner.caption(paths)) == 3
    for wrong, message in (({"candidates": 2}, "nothing is drawn"), ({"steps": 3}, "steps: .* does not take it; it takes .*beams")):
        with pytest.raises(UsageError, match=message):
            captioner.caption(paths, **wrong)
    with pytest.raises(UsageError, match="beam search draws nothing"):
        captioner.options(beams=3, temperature=1.0)


def test_a_sweep_compares_captions(overrides, tmp_path):
    grid = [("inference.diffusion.guidance", ("0.0", "1.0"))]
    options = {"overrides": overrides, "split": "val", "progress": False}
    found = audiojax.sweep("dac/soundworld:debug", grid, (0,), tmp_path, **options)
    assert {row["setting"] for row in found.rows} == {"inference.diffusion.guidance=0.0", "inference.diffusion.guidance=1.0"}
    assert {"cider_d", "rouge_l", "event_f1"} <= {row["measure"] for row in found.rows}
    assert audiojax.sweep("dac/soundworld:debug", grid, (0,), tmp_path, **options).rows == found.rows
