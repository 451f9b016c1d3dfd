"""Towers of our own in public layouts: what is loaded again is what was written, and what others could have written there is checked."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from audiojax.audio.spectral import AUDIOMAE, CLAP_48K, PANNS_16K, SOUNDWORLD_16K
from audiojax.encoders.audiomae import AudioMae, AudioMaeConfig
from audiojax.encoders.beats import Beats
from audiojax.encoders.bert import BertConfig, BertEncoder
from audiojax.encoders.clap import Clap
from audiojax.encoders.panns import PRESETS as PANNS
from audiojax.encoders.panns import Panns
from audiojax.encoders.t5 import T5Config, T5Encoder
from audiojax.errors import UsageError
from audiojax.models.hifigan import HifiGan
from audiojax.models.llama import Llama, LlamaConfig
from audiojax.models.vae import AutoencoderKl
from audiojax.pretrained.kinds import differences, overridden
from audiojax.pretrained.load import KINDS, load_tower
from audiojax.pretrained.publish import publish_tower
from audiojax.text.normalise import clean_caption
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.clap import ClapTower
from audiojax.towers.clap_features import ClapFrontEnd
from audiojax.towers.panns import PannsTower
from tests.encoders.filling import filled_variables, token_batch
from tests.encoders.test_clap import PLAIN
from tests.models import latent_facts
from tests.pretrained.test_load import SMALL
from tests.pretrained.test_spectrogram_towers import BEATS
from tests.text.test_tokenizer import CAPTIONS
from tests.towers.clap_cases import FRONT_ENDS, variables

TAGGER = replace(PANNS["cnn14"]["tiny"], channels=(2, 3), head=True, classes=5)
MODULES = {
    "bert": BertEncoder(BertConfig(50, max_positions=20, **SMALL)),
    "bert of roberta's": BertEncoder(BertConfig(50, max_positions=20, padding_id=1, segments=1, norm_eps=1e-5, **SMALL)),
    "t5": T5Encoder(T5Config(50, head_width=6, **SMALL)),
    "t5 gated": T5Encoder(T5Config(50, head_width=6, gated=True, buckets=8, max_distance=20, **SMALL)),
    "audiomae": AudioMae(AudioMaeConfig(frames=48, mels=16, patch=8, width=16, layers=2, heads=4, blocks=1)),
    "beats": Beats(replace(BEATS, mels=32)),
    "llama": Llama(LlamaConfig(50, 24, 1, 4, 2, 8, 40, 64)),
    "llama tied": Llama(LlamaConfig(50, 24, 1, 4, 4, 6, 40, 64, tie_embeddings=True, mlp_bias=True)),
    "vae": AutoencoderKl(latent_facts.VAE),
    "hifigan": HifiGan(latent_facts.HIFIGANS["audioldm"]),
    "hifigan that normalises": HifiGan(latent_facts.HIFIGANS["speecht5"]),
    "panns": Panns(TAGGER),
    "panns of 4 stages": Panns(replace(PANNS["resnet38"]["tiny"], channels=(2, 2, 3, 4), depths=(1, 2), last_pool=(2, 2), head=False)),
}
ODD = ClapFrontEnd(replace(FRONT_ENDS["plain"].mel, padding="same"), 7_200)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(CAPTIONS, vocab_size=45)


def tower_of(kind, module):
    config = module.config
    inputs = token_batch(1, 3, 50) if kind in ("bert", "t5", "llama") else KINDS[kind].example(config)
    fields = {"mel": SOUNDWORLD_16K} if kind == "panns" else {}
    return KINDS[kind].tower(module, config, filled_variables(module, *inputs), None, Path("run"), "", **fields)


def clap_tower(front_end, tokenizer=None):
    return ClapTower(Clap(PLAIN), PLAIN, variables("plain"), None, Path("run"), "", front_end, tokenizer, max_tokens=9, clean=clean_caption)


@pytest.mark.parametrize("name", MODULES)
def test_what_was_written_is_loaded(name, tmp_path):
    kind = name.split()[0]
    tower = tower_of(kind, MODULES[name])
    back = load_tower(publish_tower(tower, kind, tmp_path / "out"))
    assert type(back) is type(tower)
    assert back.config == tower.config
    jax.tree.map(np.testing.assert_array_equal, dict(back.params), dict(tower.params))
    assert not isinstance(tower, PannsTower) or back.mel == SOUNDWORLD_16K
    assert (tmp_path / "out" / "config.json").is_file() == (kind in ("bert", "t5", "llama", "vae", "hifigan"))


@pytest.mark.parametrize(("front_end", "said"), [(FRONT_ENDS["plain"], True), (ODD, False)], ids=["as transformers", "odd"])
def test_a_clap_hears_as_before(front_end, said, tmp_path):
    tower = clap_tower(front_end)
    out = publish_tower(tower, "clap", tmp_path / "out")
    back = load_tower(out)
    assert (back.config, back.front_end, back.max_tokens) == (tower.config, front_end, 9)
    jax.tree.map(np.testing.assert_array_equal, dict(back.params), dict(tower.params))
    assert (out / "preprocessor_config.json").is_file() == said


def test_a_clap_reads_as_before_and_counts_from_the_tokenizers_padding(tokenizer, tmp_path):
    """Padding is 0 for the tokenizer and 1 for the tower: the table of positions loses a row that nothing reads."""
    tower = clap_tower(FRONT_ENDS["plain"], tokenizer)
    back = load_tower(publish_tower(tower, "clap", tmp_path / "out", tokenizer, 9))
    assert (back.config.text.padding_id, back.config.text.max_positions) == (0, PLAIN.text.max_positions - 1)
    texts = ["A dog, barks: twice!", "an \u20ac unknown sign", "rain " * 20]
    np.testing.assert_allclose(back.embed_text(texts), tower.embed_text(texts), atol=1e-6)
    raised = replace(tower, config=replace(PLAIN, text=replace(PLAIN.text, padding_id=0)))
    up = KINDS["clap"].publish(replace(raised, tokenizer=replace(tokenizer, backend=Padded()))).tower
    table = up.params["params"]["text"]["encoder"]["position"]["embedding"]
    assert (up.config.text.padding_id, len(table)) == (2, PLAIN.text.max_positions + 2)
    assert not jnp.any(table[:2])


class Padded:
    """A tokenizer whose padding has another id."""

    pad_token_id = 2


def test_the_tokenizer_cleans_as_the_tower_did(tokenizer, tmp_path):
    tokenizer.save_cleaning(tmp_path, 9)
    back = Tokenizer.load(tmp_path)
    for text in ("A Dog, barks... twice", 'rain; "falls"? (heavy)!', "\ufb01re \u20ac bell", " a   bell\n"):
        assert back.rows([text]) == tokenizer.rows([clean_caption(text)])
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 9
    assert tokenizer.rows(["a, b"]) != back.rows(["a, b"])  # the one that was saved is as before


def test_settings_are_written_where_they_differ():
    mel = replace(PANNS_16K, padding="same", f_min=20, frames=64)
    found = differences(mel, PANNS_16K)
    assert found == {"padding": "same", "f_min": 20, "frames": 64}
    assert overridden(PANNS_16K, json.loads(json.dumps(found)), "here") == mel
    channels = differences(TAGGER, PANNS["cnn14"]["published_32k"])
    assert channels["channels"] == [2, 3]
    assert overridden(PANNS["cnn14"]["published_32k"], channels, "here") == TAGGER


@pytest.mark.parametrize(
    ("template", "facts"),
    [
        (CLAP_48K, {"hop": 0}),
        (CLAP_48K, {"hop": 10**12}),
        (CLAP_48K, {"hop": 1.5}),
        (CLAP_48K, {"f_max": "high"}),
        (CLAP_48K, {"f_max": float("nan")}),
        (CLAP_48K, {"f_max": 48_000}),
        (CLAP_48K, {"padding": "mirror"}),
        (CLAP_48K, {"subtract_mean": 1}),
        (CLAP_48K, {"surprise": 1}),
        (AUDIOMAE, {"frames": None}),
        (TAGGER, {"arch": "vgg"}),
        (TAGGER, {"channels": []}),
        (TAGGER, {"channels": [2, -3]}),
        (TAGGER, {"channels": [1] * 1_000}),
        (TAGGER, {"channels": 2}),
    ],
)
def test_settings_that_cannot_be_read_are_named(template, facts):
    with pytest.raises(UsageError, match="here: "):
        overridden(template, facts, "here")


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"config": {"depths": [1_000_000]}}, "speaks of"),
        ({"config": {"sample_rate": 44_100}}, "sample_rate is 44100"),
        ({"mel": {"n_mels": 32}}, "32 bands"),
        ({"config": 3}, "a table is needed"),
        ([1], "a table is needed"),
    ],
)
def test_a_file_that_says_something_else_than_its_tensors_is_refused(own, words, tmp_path):
    out = publish_tower(tower_of("panns", MODULES["panns"]), "panns", tmp_path / "out")
    file = out / "model.safetensors"
    with safe_open(file, "np") as opened:
        metadata = opened.metadata()
    whole = json.loads(metadata["audiojax"])
    if isinstance(own, dict):
        own = whole | {key: {**whole[key], **value} if isinstance(value, dict) else value for key, value in own.items()}
    save_file(load_file(file), file, metadata | {"audiojax": json.dumps(own)})
    with pytest.raises(UsageError, match=words):
        load_tower(out)
