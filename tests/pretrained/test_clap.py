"""CLAP checkpoints in both public layouts, made here from random weights, become towers; what does not fit is refused with a reason."""

import json
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.audio.spectral import CLAP_48K, CLAP_48K_FUSED
from audiojax.encoders.clap import PRESETS, ClapConfig, ClapText, ClapTextConfig
from audiojax.errors import UsageError
from audiojax.pretrained import bert, clap, laion_clap
from audiojax.pretrained.kinds import Checkpoint
from audiojax.pretrained.load import load_tower
from audiojax.pretrained.rules import ConversionError, export
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.clap import ClapTextTower, ClapTower
from audiojax.towers.clap_features import PRESETS as FRONT_ENDS
from tests.encoders.filling import fill, filled_variables
from tests.encoders.test_clap import FUSED, NARROW, PLAIN, abstract
from tests.pretrained import torch_layout
from tests.pretrained.test_load import write_folder
from tests.towers.clap_cases import MEL

TEXT_FACTS = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 22,
}
AUDIO_FACTS = {
    "spec_size": 64,
    "patch_embeds_hidden_size": 16,
    "depths": [1, 1],
    "num_attention_heads": [2, 4],
    "window_size": 4,
    "hidden_size": 32,
    "patch_stride": [4, 4],
}
FACTS = {"model_type": "clap", "projection_dim": 12, "text_config": TEXT_FACTS, "audio_config": AUDIO_FACTS}
PREPROCESSOR = {
    "sampling_rate": 8_000,
    "hop_length": 160,
    "max_length_s": 1,
    "fft_window_size": 512,
    "frequency_min": 50,
    "frequency_max": 4_000,
    "truncation": "rand_trunc",
}
INDICES = {"relative_position_index": (16, 16), "position_ids": (1, 22), "token_type_ids": (1, 22)}


@cache
def filled(config):
    """Variables of a narrow CLAP; nobody changes them."""
    return fill(abstract(config))


@pytest.fixture(scope="module", params=NARROW)
def case(request):
    """(config, variables) of a narrow CLAP."""
    return NARROW[request.param], filled(NARROW[request.param])


def hub_folder(folder, config, variables, facts=FACTS, preprocessor=PREPROCESSOR):
    """A folder as transformers writes it, index buffers included."""
    state = export(variables, clap.family(config))
    blocks = [name.rpartition(".")[0] for name in state if name.endswith("bias_table")]
    state |= {f"{block}.relative_position_index": np.zeros(INDICES["relative_position_index"], np.int64) for block in blocks}
    state |= {f"text_model.embeddings.{name}": np.zeros(INDICES[name], np.int64) for name in ("position_ids", "token_type_ids")}
    state["audio_model.audio_encoder.batch_norm.num_batches_tracked"] = np.array(7)
    audio = facts["audio_config"] | ({"enable_fusion": True} if config.audio.fusion else {})
    folder = write_folder(folder, facts | {"audio_config": audio}, state)
    truncation = {"truncation": "fusion"} if config.audio.fusion else {}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor | truncation))
    return folder


def test_a_folder_of_transformers(case, tmp_path):
    config, variables = case
    tower = load_tower(hub_folder(tmp_path / "clap", config, variables))
    assert isinstance(tower, ClapTower)
    assert tower.config == config
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)
    assert len(tower.report.ignored) == 5  # one index in each of the two blocks, two of the text, the counter
    assert tower.front_end.mel == replace(MEL, filter_bank="htk" if config.audio.fusion else "slaney")
    assert (tower.front_end.frames, tower.front_end.fusion) == (51, config.audio.fusion)
    assert tower.tokenizer is None


def laion_state(config, variables):
    """The authors' file: names below `module.`, with what a file holds beside the weights that are read."""
    state = export(variables, laion_clap.family(config))
    beside = {
        "audio_branch.spectrogram_extractor.stft.conv_real.weight": (3, 1, 4),
        "audio_branch.logmel_extractor.melW": (3, 64),
        "audio_branch.bn0.num_batches_tracked": (),
        "audio_branch.layers.0.blocks.0.attn_mask": (16, 16),
        "audio_branch.layers.0.blocks.0.attn.relative_position_index": (16, 16),
        "audio_branch.tscam_conv.weight": (5, 32, 2, 3),
        "audio_branch.head.bias": (5,),
        "text_branch.embeddings.position_ids": (1, 22),
        "text_transform.sequential.0.weight": (12, 12),
        "audio_transform.sequential.3.bias": (12,),
    }
    return {
        f"module.{name}": value for name, value in (state | {name: np.ones(shape, np.float32) for name, shape in beside.items()}).items()
    }


def test_a_file_of_the_authors(case, tmp_path, monkeypatch):
    config, variables = case
    monkeypatch.setattr(laion_clap, "HEAD_WIDTH", 8)
    config = replace(config, text=replace(config.text, norm_eps=1e-5), audio=replace(config.audio, image=256, sample_rate=48_000))
    state = laion_state(config, variables)
    assert state["module.audio_branch.layers.1.blocks.0.attn.qkv.weight"].shape == (96, 32)
    path = tmp_path / "630k-best.pt"
    tensors = {name: torch_layout.tensor(array) for name, array in state.items()}
    path.write_bytes(torch_layout.zip_file({"epoch": 3, "state_dict": tensors}))
    tower = load_tower(path)
    assert tower.config == config
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)
    assert len(tower.report.ignored) == 10
    assert tower.front_end == FRONT_ENDS["fusion" if config.audio.fusion else "rand_trunc"]
    assert tower.front_end.mel == (CLAP_48K_FUSED if config.audio.fusion else CLAP_48K)


def test_the_fused_weights_are_query_key_value(case):
    config, variables = case
    state = export(variables, laion_clap.family(config))
    attention = variables["params"]["audio"]["encoder"]["stage_1_0"]["attention"]
    stacked = np.concatenate([attention[name]["kernel"].T for name in ("query", "key", "value")])
    np.testing.assert_array_equal(state["audio_branch.layers.1.blocks.0.attn.qkv.weight"], stacked)


@pytest.mark.parametrize("name", ["htsat-unfused", "htsat-fused", "larger"])
def test_sizes_of_the_published_files_are_read_off_their_tensors(name, tmp_path):
    shapes = shapes_of(PRESETS[name])
    assert laion_clap.recognise(shapes)
    want = replace(PRESETS[name], text=replace(PRESETS[name].text, norm_eps=1e-5))
    assert laion_clap.config_of(Checkpoint(tmp_path, {}, shapes, {})) == want


def shapes_of(config):
    """Names and shapes of the authors' file, without values."""
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), abstract(config))
    return {f"module.{name}": array.shape for name, array in export(zeros, laion_clap.family(config)).items()}


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("htsat-unfused", {"audio_config": {}}),
        ("larger", {"audio_config": {"depths": [2, 2, 12, 2], "hidden_size": 1024, "patch_embeds_hidden_size": 128}}),
        ("htsat-fused", {"audio_config": {"enable_fusion": True, "fusion_type": None}, "text_config": None}),
    ],
)
def test_the_sparse_configs_of_the_published_folders(name, facts, tmp_path):
    facts = {"model_type": "clap"} | facts
    config = clap.config_of(Checkpoint(tmp_path, facts, {}, {}))
    assert config == PRESETS[name]
    assert clap.front_end_of(Checkpoint(tmp_path, facts, {}, {}), config) == FRONT_ENDS["fusion" if config.audio.fusion else "rand_trunc"]


def test_the_text_half_of_an_audioldm_folder(tmp_path):
    config = ClapTextConfig(text=PLAIN.text, projection=12)
    ids, mask = bert.one_token(config)
    variables = filled_variables(ClapText(config), ids, mask)
    state = export(variables, clap.text_family(config))
    assert {"text_model.pooler.dense.weight", "text_projection.linear2.bias"} <= state.keys()
    facts = TEXT_FACTS | {"model_type": "clap_text_model", "projection_dim": 12}
    tower = load_tower(write_folder(tmp_path / "text_encoder", facts, state))
    assert isinstance(tower, ClapTextTower)
    assert tower.config == config
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)


def test_the_tokenizer_of_the_folder(tmp_path):
    folder = hub_folder(tmp_path / "clap", PLAIN, filled(PLAIN))
    tokenizer = Tokenizer.train(["a dog barks"], 40)
    tokenizer.save(folder)
    assert load_tower(folder).tokenizer.encode(["a dog"], 8)[0].tolist() == tokenizer.encode(["a dog"], 8)[0].tolist()
    Tokenizer.train(["abcdefghijklmnopqrstuvwxyz 0123456789"], 99).save(folder)
    with pytest.raises(UsageError, match="the tokenizer has .. entries, and the model has 50"):
        load_tower(folder)


def nested(key, **changes):
    return FACTS | {key: FACTS[key] | changes}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (nested("audio_config", depths=[1, 2]), "missing: audio_model.audio_encoder.layers.1.blocks.1"),
        (nested("audio_config", depths=[2, 1]), "missing: audio_model.audio_encoder.layers.0.blocks.1"),
        (nested("text_config", num_hidden_layers=2), "missing: text_model.encoder.layer.1"),
        (nested("text_config", hidden_size=48), "of another shape: text_model"),
        (nested("text_config", num_hidden_layers=900_000), "layers, and the file has"),
        (nested("audio_config", depths=[900_000, 1]), "layers, and the file has"),
        (nested("audio_config", enable_fusion=True), "missing: audio_model.audio_encoder.patch_embed.fusion_model"),
        (nested("audio_config", enable_fusion=True, fusion_type="channel_map"), "there is aff_2d alone"),
        (nested("audio_config", hidden_size=64), "hidden_size 64 is not 32"),
        (nested("audio_config", patch_size=2), "patch_stride 4 is not patch_size 2"),
        (nested("audio_config", patch_size=[4, 2]), "patch_size is .4, 2."),
        (nested("audio_config", mlp_ratio=2.5), "mlp_ratio is 2.5"),
        (nested("audio_config", num_attention_heads=[2, 5]), "its sizes make no model"),
        (nested("audio_config", num_attention_heads=[2]), "its sizes make no model"),
        (nested("audio_config", spec_size=32), "its sizes make no model"),
        (nested("audio_config", spec_size=900_000), "an image of 900000 pixels"),
        (nested("audio_config", window_size=900_000), "windows of 900000"),
        (nested("audio_config", qkv_bias=False), "qkv_bias is False"),
        (nested("audio_config", num_mel_bins=0), "num_mel_bins is 0"),
        (FACTS | {"audio_config": "tiny"}, "audio_config is 'tiny', and a table is needed"),
        (FACTS | {"projection_hidden_act": "selu"}, "there are relu, gelu"),
        (FACTS | {"logit_scale_init_value": -1}, "a positive number"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(facts, words, tmp_path):
    folder = hub_folder(tmp_path / "clap", PLAIN, filled(PLAIN))
    (folder / "config.json").write_text(json.dumps(facts))
    with pytest.raises((UsageError, ConversionError), match=words):
        load_tower(folder)


def test_blocks_that_the_config_leaves_out_are_an_error(tmp_path):
    """A base checkpoint read with the default depths would lose six blocks."""
    deeper = replace(PLAIN, audio=replace(PLAIN.audio, depths=(1, 2)))
    with pytest.raises(ConversionError, match="unexpected: audio_model.audio_encoder.layers.1.blocks.1"):
        load_tower(hub_folder(tmp_path / "clap", deeper, filled(deeper)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"truncation": "fusion"}, "truncation is 'fusion', and this tower needs 'rand_trunc'"),
        ({"padding": "repeat"}, "padding is 'repeat'"),
        ({"feature_size": 32}, "feature_size is 32"),
        ({"frequency_max": 9_000}, "preprocessor_config.json: mel bands need"),
        ({"hop_length": 0}, "preprocessor_config.json: hop_length is 0"),
        ({"max_length_s": 2}, "clips of 101 frames, and this tower takes 64"),
    ],
)
def test_a_preprocessor_that_does_not_fit_is_refused(changes, words, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | changes))
    with pytest.raises(UsageError, match=words):
        clap.front_end_of(Checkpoint(tmp_path, FACTS, {}, {}), PLAIN)


def test_settings_inside_a_processor_are_found(tmp_path):
    """transformers 5 writes them there."""
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "ClapProcessor", "feature_extractor": PREPROCESSOR}))
    assert clap.front_end_of(Checkpoint(tmp_path, FACTS, {}, {}), PLAIN).mel == MEL


@pytest.mark.parametrize("text", ["", "[1]", "{no"])
def test_a_damaged_preprocessor_is_named(text, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(UsageError, match="preprocessor_config.json: "):
        clap.config_of(Checkpoint(tmp_path, FACTS, {}, {}))


@pytest.mark.parametrize("lost", ["audio_branch.bn0.weight", "text_branch.embeddings.word_embeddings.weight", "text_projection.0.weight"])
def test_a_file_of_other_halves_is_refused(lost, tmp_path):
    shapes = shapes_of(FUSED)
    del shapes[f"module.{lost}"]
    with pytest.raises(UsageError, match=f"without a usable '{lost}'"):
        laion_clap.config_of(Checkpoint(tmp_path, {}, shapes, {}))


def test_swapped_axes_are_refused(tmp_path):
    variables = fill(abstract(PLAIN))
    up = variables["params"]["audio"]["projection"]["up"]
    up["kernel"] = np.ascontiguousarray(up["kernel"].T)
    with pytest.raises(ConversionError, match=r"of another shape: audio_projection.linear1.weight \[32, 12\], wanted \[12, 32\]"):
        load_tower(hub_folder(tmp_path / "clap", PLAIN, variables))


def test_bfloat16_weights_are_the_callers_choice(tmp_path):
    tower = load_tower(hub_folder(tmp_path / "clap", PLAIN, filled(PLAIN)), param_dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(tower.params["params"])} == {jnp.dtype(jnp.bfloat16)}
    assert isinstance(tower.config, ClapConfig)
