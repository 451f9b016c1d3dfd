"""AudioMAE and BEATs checkpoints in their public layouts, made here from random weights, become towers; others are refused."""

import json
import math
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from audiojax.encoders.audiomae import PRESETS as AUDIOMAE_PRESETS
from audiojax.encoders.audiomae import AudioMae, AudioMaeConfig
from audiojax.encoders.beats import PRESETS as BEATS_PRESETS
from audiojax.encoders.beats import Beats
from audiojax.errors import UsageError
from audiojax.pretrained import audiomae, beats
from audiojax.pretrained.kinds import Checkpoint
from audiojax.pretrained.load import load_tower
from audiojax.pretrained.rules import ConversionError, export, flat_leaves, sources
from audiojax.towers.spectrogram import AudioMaeTower, BeatsTower
from tests.encoders.filling import filled_variables
from tests.pretrained import torch_layout

PRETRAINED = AudioMaeConfig(frames=48, mels=16, patch=8, width=16, layers=2, heads=2)
TAGGING = replace(PRETRAINED, clip_norm=True, classes=5)
CFG = {
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "deep_norm": True,
    "conv_bias": False,
    "conv_pos": 6,
    "conv_pos_groups": 4,
    "relative_position_embedding": True,
    "gru_rel_pos": True,
    "num_buckets": 8,
    "max_distance": 9,
    "input_patch_size": 16,
    "embed_dim": 12,
    "layer_wise_gradient_decay_ratio": 0.6,
    "finetuned_model": True,
    "predictor_class": 5,
}
BEATS = replace(
    BEATS_PRESETS["base"], embed=12, width=16, layers=2, heads=2, hidden=24, kernel=6, groups=4, buckets=8, max_distance=9, classes=5
)


def audiomae_state(config):
    return export(filled_variables(AudioMae(config), np.zeros((1, 48, 16), np.float32)), audiomae.family(config))


def beats_variables(config=BEATS):
    return filled_variables(Beats(config), np.zeros((1, 16, 128), np.float32))


def beats_state(config=BEATS):
    """The shared table of relative positions stands in every layer of a file."""
    state = export(beats_variables(config), beats.family(config))
    shared = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    return state | {shared.format(1): state[shared.format(0)]}


def write_torch(path, **content):
    path.write_bytes(torch_layout.zip_file(content))
    return path


def tensors(state):
    return {name: torch_layout.tensor(array) for name, array in state.items()}


@pytest.mark.parametrize("config", [PRETRAINED, TAGGING])
def test_a_file_of_audiomaes_authors(tmp_path, config):
    state = audiomae_state(config)
    decoder = {"mask_token": np.zeros((1, 1, 8), np.float32), "decoder_blocks.0.norm1.weight": np.zeros(8, np.float32)}
    tower = load_tower(write_torch(tmp_path / "audiomae.pth", model=tensors(state | decoder), epoch=3), heads=2, bands=2)
    assert isinstance(tower, AudioMaeTower)
    assert tower.config == config
    assert sorted(tower.report.ignored) == sorted(decoder)
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), filled_variables(AudioMae(config), np.zeros((1, 48, 16), np.float32)))
    assert set(tower.params) == {"params", "constants"}


@pytest.mark.parametrize(
    ("facts", "prefix"), [({"architecture": "vit_base_patch16_224", "num_classes": 0}, ""), ({"model_type": "audiomae"}, "encoder.")]
)
def test_ports_of_audiomae(tmp_path, facts, prefix):
    (tmp_path / "config.json").write_text(json.dumps(facts))
    save_file({prefix + name: array for name, array in audiomae_state(PRETRAINED).items()}, tmp_path / "model.safetensors")
    assert load_tower(tmp_path, heads=2, bands=2).config == PRETRAINED


def test_published_audiomae_is_known_by_its_shapes(tmp_path):
    for name, extra in (("vit-base", "norm.weight"), ("vit-base-tagging", "fc_norm.weight")):
        config = AUDIOMAE_PRESETS[name]
        shapes = {f"blocks.{i}.norm1.weight": (768,) for i in range(12)} | {extra: (768,)}
        shapes |= {"patch_embed.proj.weight": (768, 1, 16, 16), "pos_embed": (1, 513, 768), "blocks.0.mlp.fc1.weight": (3072, 768)}
        shapes |= {"head.weight": (527, 768)} if config.classes else {}
        assert audiomae.recognise(shapes)
        assert audiomae.config_of(Checkpoint(tmp_path, {}, shapes, {})) == config


def test_audiomae_of_another_length(tmp_path):
    """The position table says how long the clips are."""
    shorter = replace(PRETRAINED, frames=40)
    variables = filled_variables(AudioMae(shorter), np.zeros((1, 40, 16), np.float32))
    save_file(export(variables, audiomae.family(shorter)), tmp_path / "model.safetensors")
    assert load_tower(tmp_path, heads=2, bands=2).config == shorter


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({}, {"bands": 2}, "0 heads do not go with width 16"),
        ({}, {"heads": 3, "bands": 2}, "3 heads do not go with width 16"),
        ({}, {"heads": 2}, "12 positions are no grid of patches with 8 along frequency"),
        ({}, {"heads": 2, "bands": 0}, "with 0 along frequency"),
        ({"pos_embed": np.zeros((13, 16))}, {}, "no weights of AudioMAE"),
        ({"patch_embed.proj.weight": np.zeros((0, 1, 8, 8))}, {}, "0 heads"),
        ({"patch_embed.proj.weight": np.zeros((16, 1, 0, 0))}, {"heads": 2, "bands": 2}, "patches of 0"),
        ({"blocks.1.norm1.weight": None}, {"heads": 2, "bands": 2}, "unexpected: blocks.1"),
        ({"norm.weight": None}, {"heads": 2, "bands": 2}, "missing: norm.weight"),
        ({"blocks.0.attn.qkv.weight": np.zeros((16, 48))}, {"heads": 2, "bands": 2}, r"qkv.weight \[16, 48\], wanted \[48, 16\]"),
    ],
)
def test_audiomae_that_does_not_fit(tmp_path, changes, options, words):
    state = {name: np.asarray(array, np.float32) for name, array in (audiomae_state(PRETRAINED) | changes).items() if array is not None}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises((UsageError, ConversionError), match=words):
        load_tower(tmp_path, **options)


@pytest.mark.parametrize("tagging", [True, False])
def test_a_file_of_beats_authors(tmp_path, tagging):
    config = BEATS if tagging else replace(BEATS, classes=0)
    state = beats_state(config)
    assert state["encoder.pos_conv.0.weight_g"].shape == (1, 1, 6)
    tower = load_tower(write_torch(tmp_path / "BEATs.pt", cfg=CFG | {"finetuned_model": tagging}, model=tensors(state)))
    assert isinstance(tower, BeatsTower)
    assert tower.config == config
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), beats_variables(config))
    assert tower.report.ignored == ["encoder.layers.1.self_attn.relative_attention_bias.weight"]


def test_a_file_of_beats_has_the_norms_of_a_convolution_besides():
    """90,311,664 numbers of ours and 128 norms."""
    variables = jax.eval_shape(lambda: Beats().init(jax.random.key(0), np.zeros((1, 16, 128), np.float32), train=False))
    ours = {path: leaf.shape for path, leaf in flat_leaves(variables).items()}
    tensors = {}
    for path, source in sources(ours, beats.family(BEATS_PRESETS["base"])).items():
        tensors |= source.tensors(ours[path], present=())
    assert sum(math.prod(shape) for shape in tensors.values()) == 90_311_664 + 128
    assert tensors["encoder.pos_conv.0.weight_g"] == (1, 1, 128)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder_layers": 3}, "missing: encoder.layers.2"),
        ({"encoder_layers": 1}, "unexpected: encoder.layers.1"),
        ({"encoder_embed_dim": 32}, "of another shape"),
        ({"conv_pos_groups": 8}, r"weight_v \[16, 4, 6\], wanted \[16, 2, 6\]"),
        ({"finetuned_model": False}, "unexpected: predictor"),
        ({"encoder_attention_heads": 3}, "its sizes make no model .width 16 is not divisible by 3 heads"),
        ({"encoder_attention_heads": 0}, "cfg: encoder_attention_heads is 0"),
        ({"max_distance": 2}, "cfg: max_distance is 2, and a whole number from 3"),
        ({"deep_norm": False}, "cfg: deep_norm is False, and this tower has True alone"),
        ({"activation_fn": "glu"}, "cfg: activation_fn is 'glu'"),
    ],
)
def test_beats_that_does_not_fit(tmp_path, changes, words):
    path = write_torch(tmp_path / "BEATs.pt", cfg=CFG | changes, model=tensors(beats_state()))
    with pytest.raises((UsageError, ConversionError), match=words):
        load_tower(path)


def test_beats_without_its_settings(tmp_path):
    save_file(beats_state(), tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="no settings under 'cfg'"):
        load_tower(tmp_path / "model.safetensors")
