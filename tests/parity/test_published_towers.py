"""Towers of our own, written in public layouts: transformers and diffusers open them, and give the same for the same texts and log-mels."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from transformers import AutoTokenizer

from audiojax.audio.spectral import log_mel
from audiojax.models.unet import UNet
from audiojax.pretrained.publish import publish_tower
from audiojax.text.normalise import clean_caption
from audiojax.towers.latent import UnetTower
from tests.encoders.filling import filled_variables, mel_batch, relative_error
from tests.models.latent_facts import UNETS, unet_inputs, vae_inputs
from tests.pretrained.test_publish import FRONT_ENDS, MODULES, clap_tower, tokenizer, tower_of  # noqa: F401  (a fixture)

torch = pytest.importorskip("torch")
from diffusers import AudioLDM2UNet2DConditionModel, AutoencoderKL  # noqa: E402
from transformers import AutoProcessor, BertModel, ClapModel, RobertaModel, SpeechT5HifiGan, T5EncoderModel  # noqa: E402

from tests.parity.latent_reference import unet_outputs, vae_outputs, waveforms  # noqa: E402

pytestmark = pytest.mark.parity
TEXTS = ["A dog, barks: twice!", "an \u20ac unknown sign, then rain"]
LENGTH = 12


def tokens_of(folder):
    """Ids and mask of TEXTS from the tokenizer in a folder."""
    found = AutoTokenizer.from_pretrained(folder)(TEXTS, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    return {key: found[key] for key in ("input_ids", "attention_mask")}


def joint(output):
    """Rows of the joint space at length 1, from what this transformers returns."""
    rows = getattr(output, "pooler_output", output).numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("name", "model"), [("bert", BertModel), ("bert of roberta's", RobertaModel), ("t5", T5EncoderModel), ("t5 gated", T5EncoderModel)]
)
def test_text_towers(name, model, tokenizer, tmp_path):  # noqa: F811
    kind = name.split()[0]
    tower = tower_of(kind, MODULES[name])
    out = publish_tower(tower, kind, tmp_path / "out", tokenizer, LENGTH)
    tokens = tokens_of(out)
    ids, mask = tokenizer.encode([clean_caption(text) for text in TEXTS], LENGTH)
    np.testing.assert_array_equal(tokens["input_ids"], ids)
    if "roberta" in name:
        tokens["input_ids"] = torch.where(tokens["attention_mask"] == 1, tokens["input_ids"] + 2, 1)  # it counts from the padding id, 1
    with torch.no_grad():
        theirs = model.from_pretrained(out).eval()(**tokens).last_hidden_state.numpy()
    ours = np.asarray(tower(tokens["input_ids"].numpy(), mask))
    assert relative_error(ours[mask], theirs[mask]) < 1e-4


def test_clap(tokenizer, tmp_path):  # noqa: F811
    tower = clap_tower(FRONT_ENDS["plain"], tokenizer)
    out = publish_tower(tower, "clap", tmp_path / "out", tokenizer, tower.max_tokens)
    model, waveform = ClapModel.from_pretrained(out).eval(), np.random.default_rng(0).uniform(-0.3, 0.3, 8_000).astype(np.float32)
    heard = AutoProcessor.from_pretrained(out)(audio=waveform, sampling_rate=8_000, return_tensors="pt")
    mel = log_mel(jnp.asarray(waveform[None]), tower.front_end.mel)
    assert relative_error(mel[:, None], heard["input_features"].numpy()) < 1e-4
    with torch.no_grad():
        audio = joint(model.get_audio_features(input_features=heard["input_features"], is_longer=heard["is_longer"]))
        text = joint(model.get_text_features(**tokens_of(out)))
    assert relative_error(tower.embed_audio(waveform, 8_000), audio) < 1e-4
    assert relative_error(replace(tower, max_tokens=LENGTH).embed_text(TEXTS), text) < 1e-4


def test_the_autoencoder(tmp_path):
    tower = tower_of("vae", MODULES["vae"])
    mel, latents = vae_inputs(tower.config)
    model, report = AutoencoderKL.from_pretrained(publish_tower(tower, "vae", tmp_path / "out"), output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.scaling_factor == tower.config.scaling_factor
    theirs = vae_outputs(model.eval(), mel, latents)
    assert relative_error(tower.encode(mel), theirs["mean"] * tower.config.scaling_factor) < 1e-4
    assert relative_error(tower.decode(latents * tower.config.scaling_factor), theirs["decoded"]) < 1e-4


@pytest.mark.parametrize(("heads", "contexts"), [("trained", (None, 5, 7)), ("diffusers", (None, 5, 7)), ("trained", (None, 5))])
def test_a_unet_that_retrieves(heads, contexts, tmp_path):
    config = replace(UNETS["re-audioldm"], heads=heads, head_width=4, contexts=contexts)
    module, given = UNet(config), unet_inputs(config)
    tower = UnetTower(module, config, filled_variables(module, *given), None, tmp_path, "digest")
    out = publish_tower(tower, "unet", tmp_path / "out")
    model, report = AudioLDM2UNet2DConditionModel.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert relative_error(module.apply(tower.params, *given, train=False), unet_outputs(model.eval(), *given)) < 1e-4


@pytest.mark.parametrize("name", ["hifigan", "hifigan that normalises"])
def test_the_vocoder(name, tmp_path):
    tower = tower_of("hifigan", MODULES[name])
    mel = mel_batch(2, 11, tower.config.mels) / 4
    model, report = SpeechT5HifiGan.from_pretrained(publish_tower(tower, "hifigan", tmp_path / "out"), output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert relative_error(tower(mel), waveforms(model.eval(), mel)) < 1e-4
