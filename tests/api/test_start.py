"""A run starts from towers of public checkpoints: what fits is laid into place, what does not is named."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from audiojax.api.data import make_tokenizer
from audiojax.api.start import Start, start_of, tokenizer_folder
from audiojax.api.train import train
from audiojax.api.weights import load_pretrained
from audiojax.config import load_config, to_dict
from audiojax.encoders.bert import PRESETS as BERTS
from audiojax.encoders.bert import BertConfig, BertEncoder
from audiojax.encoders.clap import ClapText
from audiojax.encoders.panns import PRESETS as PANNS
from audiojax.encoders.panns import Panns, PannsConfig
from audiojax.errors import UsageError
from audiojax.models.unet import UNet
from audiojax.models.vae import AutoencoderKl
from audiojax.papers import PAPERS
from audiojax.partition import flat_paths
from audiojax.pretrained import bert, panns, store, unet, vae
from audiojax.pretrained.rules import export
from audiojax.text.tokenizer import Tokenizer
from tests.api.maker_folder import TEXT, UNET, VAE, write_pipeline
from tests.encoders.filling import filled_variables, token_batch
from tests.pretrained import torch_layout
from tests.test_published_configs import shapes

CAPTIONS = [
    f"a {adjective} dog {verb} {where}" for adjective in ("small", "loud") for verb in ("barks", "runs") for where in ("here", "far")
]


@pytest.fixture(scope="module", autouse=True)
def small_towers():
    """The tiny towers with a few channels, which compile fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PANNS["cnn14"], "tiny", PannsConfig(channels=(2, 4), input_pool=(8, 8), sample_rate=16_000))
        patch.setitem(BERTS, "tiny", BertConfig(width=8, layers=1, heads=2, hidden=8, max_positions=64))
        yield


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, small_towers):
    """(PANNs file, BERT folder, config of the BERT, variables of both): the tiny presets in the layouts of published ones."""
    root = tmp_path_factory.mktemp("checkpoints")
    audio = replace(PANNS["cnn14"]["tiny"], head=True)
    audio_variables = filled_variables(Panns(audio), np.zeros((1, 320, audio.mels), np.float32))
    state = {name: torch_layout.tensor(array) for name, array in export(audio_variables, panns.family(audio)).items()}
    file = root / "tiny.pth"
    file.write_bytes(torch_layout.zip_file({"model": state}))
    folder = root / "bert"
    tokenizer = Tokenizer.train(CAPTIONS, 200)
    text = replace(BERTS["tiny"], vocab_size=tokenizer.vocab_size)
    text_variables = filled_variables(BertEncoder(text), *token_batch(1, 4, text.vocab_size))
    tokenizer.save(folder)
    facts = {"model_type": "bert", "vocab_size": text.vocab_size, "hidden_size": text.width, "num_hidden_layers": text.layers}
    facts |= {"num_attention_heads": text.heads, "intermediate_size": text.hidden, "max_position_embeddings": text.max_positions}
    (folder / "config.json").write_text(json.dumps(facts | {"type_vocab_size": text.segments, "layer_norm_eps": text.norm_eps}))
    save_file(export(text_variables, bert.family(text)), folder / "model.safetensors")
    return file, folder, text, audio_variables, text_variables


@pytest.fixture
def tiny_panns(monkeypatch):
    """Bare files are read at the sizes of the tiny preset."""
    monkeypatch.setitem(PANNS["cnn14"], "published_32k", PANNS["cnn14"]["tiny"])


def config_of(*overrides):
    return to_dict(load_config("diffatr/soundworld:debug", ["data.source=memory", *overrides]))


def abstract_of(config, vocab_size):
    task = PAPERS["diffatr"].make_task(config, config["phases"][0], vocab_size=vocab_size)
    return jax.eval_shape(task.init, jax.random.key(0), shapes(1, 64_000, 8))


def test_towers_are_laid_into_place(checkpoints, tiny_panns):
    file, folder, text, audio_variables, text_variables = checkpoints
    config = config_of(f"init.audio={file}", f"init.text={folder}")
    start = start_of(PAPERS["diffatr"], config, abstract_of(config, text.vocab_size), progress=False)
    given = flat_paths(start.params)
    assert {path.split("/")[1] for path in given} == {"audio_tower", "text_tower"}
    assert not any("fc_audioset" in path or "fc1" in path for path in given)
    for tower, variables in (("audio_tower", audio_variables), ("text_tower", text_variables)):
        for path, leaf in flat_paths(variables["params"]).items():
            if not path.startswith("fc"):
                np.testing.assert_array_equal(given[f"dual/{tower}/{path}"], leaf)
    statistics = flat_paths(start.model_state)
    for path, leaf in flat_paths(audio_variables["batch_stats"]).items():
        np.testing.assert_array_equal(statistics[f"batch_stats/audio_tower/{path}"], leaf)
    assert start.card["text"]["source"].endswith("model.safetensors")
    assert len(start.card["audio"]["digest"]) == 64


def test_the_tokenizer_is_that_of_the_text_tower(checkpoints, tmp_path):
    _, folder, text, *_ = checkpoints
    config = config_of(f"init.text={folder}")
    assert make_tokenizer(config, None, tmp_path / "none").vocab_size == text.vocab_size
    converted = store.convert(folder, tmp_path / "converted")
    assert tokenizer_folder(config_of(f"init.text={converted}")) == converted / "files"
    assert tokenizer_folder(config_of()) is None


def test_nothing_is_asked_for():
    assert start_of(PAPERS["diffatr"], config_of(), {}) == Start()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["init.text={bert}", "model.text_dropout=0.0"], "init.text: .* does not fit the model: .*word/embedding, where it has"),
        (["init.audio={bert}"], "init.audio: .* does not fit the model"),
        (["init.audio=missing.pth"], "missing.pth: no such file or folder"),
        (["init.audio={panns}", "data.sample_rate=8000"], "hears 16000 Hz, and data.sample_rate is 8000"),
    ],
)
def test_what_does_not_fit_is_named(checkpoints, tiny_panns, overrides, words):
    file, folder, text, *_ = checkpoints
    config = config_of(*(override.format(bert=folder, panns=file) for override in overrides))
    with pytest.raises(UsageError, match=words):
        start_of(PAPERS["diffatr"], config, abstract_of(config_of(), text.vocab_size + 8), progress=False)


@pytest.mark.slow
def test_a_run_starts_from_checkpoints_and_needs_them_no_more(checkpoints, tiny_panns, tmp_path):
    file, folder, *_ = checkpoints
    overrides = ["data.source=memory", "data.size=0.006", "train.eval_batch_size=8", f"init.audio={file}", f"init.text={folder}"]
    overrides += [f"{phase}.{setting}" for phase in ("contrastive", "hybrid") for setting in ("steps=2", "batch_size=8")]
    final = train(load_config("diffatr/soundworld:debug", overrides), tmp_path / "run", progress=False)
    card = json.loads((final / "card.json").read_text())
    assert card["started from"].keys() == {"audio", "text"}
    assert Tokenizer.load(final / "tokenizer").vocab_size == checkpoints[2].vocab_size


def test_latent_diffusion_begins_with_the_parts_of_a_pipeline(tmp_path):
    """Its U-Net has no transformer for a context: those start fresh, and those for the image find their places."""
    folder = write_pipeline(tmp_path / "pipeline")
    ours = replace(UNET, contexts=(None, 5, 7))
    words = Tokenizer.load(folder / "tokenizer").vocab_size
    text = ClapText(replace(TEXT, text=replace(TEXT.text, vocab_size=words)))
    made = {
        "unet": (UNet(ours), unet.inputs(ours)),
        "vae": (AutoencoderKl(VAE), vae.spectrogram(VAE)),
        "text": (text, token_batch(1, 4, words)),
    }
    key = jax.random.key(0)
    abstract = {name: jax.eval_shape(lambda m=m, x=x: m.init(key, *x, train=False))["params"] for name, (m, x) in made.items()}
    abstract = {"params": {"unet": abstract["unet"], "vae": abstract["vae"], "clap": {"text": abstract["text"]}}, "model_state": {}}
    config = {
        "paper": "re_audioldm",
        "data": {"sample_rate": 16_000},
        "init": {"start": "", **dict.fromkeys(("unet", "vae", "clap"), str(folder))},
    }
    start = start_of(PAPERS["re_audioldm"], config, abstract, progress=False)
    given, wanted = flat_paths(start.params), flat_paths(abstract["params"])
    missing = {path for path in wanted if path not in given}
    assert {path.split("/")[2] for path in missing} == {f"attentions_{i}" for i in (1, 2, 4, 5)}
    assert given.keys() <= wanted.keys()
    theirs = load_pretrained(folder, part="unet", progress=False).params["params"]
    np.testing.assert_array_equal(
        given["unet/up_0/attentions_3/attention2/key/kernel"], theirs["up_0"]["attentions_1"]["attention2"]["key"]["kernel"]
    )
    assert start.card.keys() == {"unet", "vae", "clap"}
    assert tokenizer_folder(config) == folder / "tokenizer"
    wider = {**abstract, "params": {**abstract["params"], "vae": {"encoder": abstract["params"]["unet"]}}}
    with pytest.raises(UsageError, match="init.vae: .* does not fit the model"):
        start_of(PAPERS["re_audioldm"], config, wider, progress=False)
