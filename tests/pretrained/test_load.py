"""Checkpoints in public layouts, made here from random weights, become towers with those weights; what cannot is refused with a reason."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec, SingleDeviceSharding
from safetensors.numpy import save_file

from audiojax.encoders.bert import BertConfig, BertEncoder
from audiojax.encoders.panns import PRESETS as PANNS_PRESETS
from audiojax.encoders.panns import Panns
from audiojax.encoders.t5 import T5Config, T5Encoder
from audiojax.errors import AudiojaxError, UsageError
from audiojax.pretrained import bert, panns, t5
from audiojax.pretrained.kinds import Checkpoint
from audiojax.pretrained.load import load_tower
from audiojax.pretrained.rules import ConversionError, export
from tests.encoders.filling import filled_variables, token_batch
from tests.pretrained import torch_layout

SIZES = {"vocab_size": 50, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "hidden_size": 8}
BERT = {**SIZES, "model_type": "bert", "max_position_embeddings": 20, "type_vocab_size": 2, "layer_norm_eps": 1e-12}
ROBERTA = {**BERT, "model_type": "roberta", "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
T5 = {"model_type": "t5", "vocab_size": 50, "d_model": 8, "num_layers": 2, "num_heads": 2, "d_kv": 6, "d_ff": 16}
FLAN = {**T5, "feed_forward_proj": "gated-gelu"}
SMALL = {"width": 8, "layers": 2, "heads": 2, "hidden": 16}
CONFIGS = {
    "bert": (BERT, BertEncoder, BertConfig(vocab_size=50, max_positions=20, **SMALL), bert),
    "roberta": (ROBERTA, BertEncoder, BertConfig(50, max_positions=20, padding_id=1, segments=1, norm_eps=1e-5, **SMALL), bert),
    "t5": (T5, T5Encoder, T5Config(50, head_width=6, **SMALL), t5),
    "flan": (FLAN, T5Encoder, T5Config(50, head_width=6, gated=True, **SMALL), t5),
}


def write_folder(folder, facts, state):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(facts))
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.fixture(params=CONFIGS)
def checkpoint(request, tmp_path):
    facts, module, config, table = CONFIGS[request.param]
    variables = filled_variables(module(config), *token_batch(2, 9, 50))
    return write_folder(tmp_path / "model", facts, export(variables, table.family(config))), module(config), variables


def test_a_folder_of_transformers(checkpoint):
    folder, module, variables = checkpoint
    tower = load_tower(folder)
    assert tower.config == module.config
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)
    ids, mask = token_batch(2, 9, 50)
    want, got = (jax.tree.leaves(x)[0] for x in (module.apply(variables, ids, mask, train=False), tower(ids, mask)))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert tower.source == folder / "model.safetensors"
    assert len(tower.digest) == 64
    assert tower.report.parameters == sum(leaf.size for leaf in jax.tree.leaves(variables))


def test_dtypes_and_places_are_the_callers(checkpoint):
    folder, *_ = checkpoint
    second = SingleDeviceSharding(jax.devices()[1])
    tower = load_tower(folder, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16, sharding=second)
    leaves = jax.tree.leaves(tower.params)
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.sharding for leaf in leaves} == {second}


def test_a_mesh_spreads_what_has_no_rule_along_fsdp(checkpoint):
    folder, _, variables = checkpoint
    mesh = jax.make_mesh((1, 4, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
    tower = load_tower(folder, sharding=mesh)
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)
    words = tower.params["params"]["word"]["embedding"]  # [50, 8]
    assert words.sharding.spec == PartitionSpec(None, "fsdp")


def test_an_option_that_a_kind_does_not_have(checkpoint):
    with pytest.raises(UsageError, match="has no option 'heads'; it has none"):
        load_tower(checkpoint[0], heads="trained")


@pytest.mark.parametrize("arch", ["cnn14", "resnet38"])
def test_a_file_of_the_panns_authors(tmp_path, monkeypatch, arch):
    narrow = {"cnn14": (2, 3, 4), "resnet38": (2, 2, 3, 4)}[arch]
    preset = replace(PANNS_PRESETS[arch]["published_16k"], channels=narrow, depths=(1, 2) if arch == "resnet38" else (), classes=5)
    monkeypatch.setitem(PANNS_PRESETS[arch], "published_16k", preset)
    config = replace(preset, head=True)
    variables = filled_variables(Panns(config), np.zeros((1, 64, 64), np.float32))
    state = export(variables, panns.family(config))
    state |= {"bn0.num_batches_tracked": np.int64(7), "logmel_extractor.melW": np.zeros((257, 64), np.float32)}
    path = tmp_path / "Cnn14_16k_mAP=0.438.pth"
    path.write_bytes(torch_layout.zip_file({"iteration": 5, "model": {name: torch_layout.tensor(array) for name, array in state.items()}}))
    tower = load_tower(path)
    assert tower.config == config
    assert sorted(tower.report.ignored) == ["bn0.num_batches_tracked", "logmel_extractor.melW"]
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)


def panns_file(path):
    """Writes a narrow CNN14 as its authors do, and returns the path."""
    config = replace(PANNS_PRESETS["cnn14"]["published_32k"], channels=(2, 3, 4))
    variables = filled_variables(Panns(config), np.zeros((1, 64, 64), np.float32))
    state = {name: torch_layout.tensor(array) for name, array in export(variables, panns.family(config)).items()}
    path.write_bytes(torch_layout.zip_file({"model": state}))
    return path


def test_a_bare_file_is_known_beside_another_models_config(tmp_path, monkeypatch):
    narrow = replace(PANNS_PRESETS["cnn14"]["published_32k"], channels=(2, 3, 4))
    monkeypatch.setitem(PANNS_PRESETS["cnn14"], "published_32k", narrow)
    path = panns_file(tmp_path / "Cnn14_mAP=0.431.pth")
    assert load_tower(tmp_path).config == load_tower(path).config  # the folder has no config yet
    for text in (json.dumps(BERT), "{not json"):
        (tmp_path / "config.json").write_text(text)
        assert load_tower(path).config.arch == "cnn14"
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    save_file({name: np.zeros(1, np.float32) for name in "abc"}, tmp_path / "other.safetensors")
    with pytest.raises(ConversionError, match=r"config.json: these weights do not fit the model \(BERT\)"):
        load_tower(tmp_path / "other.safetensors")


def test_a_network_that_only_its_name_tells_from_cnn14_is_refused(tmp_path):
    with pytest.raises(UsageError, match="Max_mAP=0.385.pth: DecisionLevel networks pool otherwise than CNN14"):
        load_tower(panns_file(tmp_path / "Cnn14_DecisionLevelMax_mAP=0.385.pth"))


def test_panns_are_known_by_their_names(tmp_path):
    def panns_config(shapes):
        return panns.config_of(Checkpoint(tmp_path, {}, shapes, {}))

    block = {"conv_block1.conv1.weight": (64, 1, 3, 3)}
    assert panns_config(block) == PANNS_PRESETS["cnn14"]["published_32k"]
    assert panns_config(block | {"resnet.layer1.0.conv1.weight": ()}).arch == "resnet38"
    assert panns_config(block | {"logmel_extractor.melW": (257, 64), "fc_audioset.bias": (527,)}).sample_rate == 16_000
    with pytest.raises(UsageError, match="a mel matrix of 129 rows; there are 513 and 257"):
        panns_config(block | {"logmel_extractor.melW": (129, 64)})


def test_relative_positions_that_make_no_buckets(tmp_path):
    state = {"shared.weight": np.zeros((50, 8), np.float32)}
    with pytest.raises(UsageError, match="relative_attention_max_distance is 8, and a whole number from 9"):
        load_tower(write_folder(tmp_path / "model", T5 | {"relative_attention_max_distance": 8}, state))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 3}, "missing: encoder.layer.2"),
        ({"num_hidden_layers": 1}, "unexpected: encoder.layer.1"),
        ({"hidden_size": 16}, r"35 of another shape\n  of another shape: encoder.layer.0.attention.self.key.bias \[8\], wanted \[16\]"),
        ({"num_hidden_layers": 900_000}, "900000 layers"),
        ({"hidden_size": "wide"}, "hidden_size is 'wide'"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"num_attention_heads": 3}, "its sizes make no model .width 8 is not divisible by 3 heads"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0, and a whole number from 1"),
        ({"vocab_size": 10**30}, "vocab_size is 1000"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"model_type": "gpt2"}, "models of type 'gpt2' are not known; there are .*bert, "),
        ({"model_type": "panns"}, "not known"),
        ({"model_type": None}, "models of type None are not known"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, changes, words):
    _, module, config, table = CONFIGS["bert"]
    state = export(filled_variables(module(config), *token_batch(1, 3, 50)), table.family(config))
    with pytest.raises((UsageError, ConversionError), match=words):
        load_tower(write_folder(tmp_path / "model", BERT | changes, state))


@pytest.mark.parametrize("text", ["", "[]", "{}", "{not json", "[" * 100_000])
def test_a_damaged_config_is_named(tmp_path, text):
    folder = write_folder(tmp_path / "model", {}, {"a": np.zeros(1, np.float32)})
    (folder / "config.json").write_text(text)
    with pytest.raises(UsageError, match="config.json: is no config of transformers or diffusers"):
        load_tower(folder)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_tower(tmp_path / "nothing")
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="no config.json"):
        load_tower(tmp_path / "other.safetensors")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(AudiojaxError, match="text.pth"):
        load_tower(tmp_path / "text.pth")
