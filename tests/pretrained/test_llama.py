"""Folders of LLaMA and its relatives, whole and in shards, and adapters of peft: what is read, written back, and refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from safetensors.numpy import load_file, save_file

import audiojax
from audiojax.errors import UsageError
from audiojax.models.llama import PRESETS, Llama, LlamaConfig
from audiojax.nn.lora import Lora
from audiojax.nn.rope import RopeScaling
from audiojax.pretrained import llama
from audiojax.pretrained.kinds import Checkpoint
from audiojax.pretrained.llama_lora import add_adapter, merge_adapter, save_adapter
from audiojax.pretrained.load import load_tower
from audiojax.pretrained.rules import ConversionError, export
from audiojax.trainer.layout import make_layout
from tests.encoders.filling import filled_variables, token_batch
from tests.pretrained import torch_layout

FACTS = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIG = LlamaConfig(vocab_size=64, width=16, layers=2, heads=4, kv_heads=2, head_width=4, hidden=24, max_positions=32)
INPUTS = token_batch(2, 6, 64)


def config_of(**changes):
    facts = {name: value for name, value in (FACTS | changes).items() if value != "absent"}
    return llama.config_of(Checkpoint(None, facts, {}, {}))


def state_of(config):
    variables = filled_variables(Llama(config), *INPUTS)
    return variables, export(variables, llama.family(config))


def write(folder, state, **changes):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(FACTS | changes))
    save_file(state, folder / "model.safetensors")
    return folder


def write_shards(folder, state):
    """The same in two files and an index, as large models are published."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(FACTS))
    names, where = sorted(state), {}
    for i, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{i:05}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, folder / file)
        where |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def test_a_folder_in_two_shards(tmp_path):
    variables, state = state_of(CONFIG)
    state |= {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32)}
    tower = load_tower(write_shards(tmp_path / "model", state))
    assert tower.config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)
    assert tower.report.ignored == ["model.layers.0.self_attn.rotary_emb.inv_freq"]
    assert (tower.tokenizer, tower.bos_id, tower.eos_ids) == (None, (1,), (2,))
    np.testing.assert_allclose(tower(*INPUTS), Llama(CONFIG).apply(variables, *INPUTS, train=False), rtol=1e-3, atol=1e-5)


def test_a_missing_shard_is_named(tmp_path):
    folder = write_shards(tmp_path / "model", state_of(CONFIG)[1])
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UsageError, match=r"model-00002-of-00002\.safetensors: cannot be read \(No such file"):
        load_tower(folder)


def test_tensors_go_straight_to_their_shards(tmp_path):
    variables, state = state_of(CONFIG)
    layout = make_layout("mesh", (2, 2, 2))
    tower = load_tower(write_shards(tmp_path / "model", state), sharding=layout.mesh)
    key = tower.params["params"]["layer_1"]["attention"]["key"]["kernel"]
    assert key.sharding.spec == PartitionSpec("fsdp", "tensor")
    assert key.addressable_shards[0].data.shape == (8, 4)
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)


def test_tied_weights_stand_in_the_file_once_or_twice(tmp_path):
    config = config_of(tie_word_embeddings=True)
    variables, state = state_of(config)
    assert "lm_head.weight" not in state
    jax.tree.map(np.testing.assert_array_equal, load_tower(write(tmp_path / "a", state, tie_word_embeddings=True)).params, variables)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    assert load_tower(write(tmp_path / "b", state, tie_word_embeddings=True)).report.ignored == ["lm_head.weight"]


def test_relatives_with_biases(tmp_path):
    variables, state = state_of(config_of(model_type="qwen2"))
    assert {name for name in state if name.startswith("model.layers.1.") and name.endswith("bias")} == {
        f"model.layers.1.self_attn.{part}_proj.bias" for part in "qkv"
    }
    tower = load_tower(write(tmp_path / "qwen", state, model_type="qwen2", use_sliding_window=False, sliding_window=4))
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)
    assert config_of(attention_bias=True, mlp_bias=True) == LlamaConfig(
        64, 16, 2, 4, 2, 4, 24, 32, qkv_bias=True, out_bias=True, mlp_bias=True
    )
    assert config_of(model_type="mistral", sliding_window=None) == CONFIG
    assert config_of(model_type="mistral", sliding_window=32) == CONFIG  # it holds every position


def test_sizes_of_published_configs():
    published = {"vocab_size": 128_256, "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8}
    published |= {"intermediate_size": 8192, "max_position_embeddings": 131_072, "tie_word_embeddings": True, "head_dim": 64}
    scaling = {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192}
    scaling |= {"rope_type": "llama3"}
    assert config_of(**published, rope_theta=500_000.0, rope_scaling=scaling) == PRESETS["llama-3.2-1b"]
    assert config_of(**published, rope_parameters=scaling | {"rope_theta": 500_000.0}) == PRESETS["llama-3.2-1b"]
    assert config_of(num_key_value_heads="absent").kv_heads == 4
    assert config_of(rms_norm_eps="absent").norm_eps == 1e-6
    assert config_of(rope_scaling={"type": "linear", "factor": 2}).rope_scaling == RopeScaling("linear", 2.0)
    assert config_of(rope_parameters={"rope_type": "default", "rope_theta": 7.0}).rope_theta == 7.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "mistral", "max_position_embeddings": 8192}, "sliding window of 4096 for 8192 positions"),
        ({"model_type": "mistral", "sliding_window": 16}, "sliding window of 16"),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 16}, "sliding window of 16"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types is"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"hidden_size": 18}, "hidden_size 18 is not divisible by num_attention_heads 4"),
        ({"attention_bias": "yes"}, "attention_bias is 'yes'"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "type 'yarn' are not known"),
        ({"rope_scaling": {"type": "linear"}}, "factor is None"),
        ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "factor 0.5"),
        ({"rope_scaling": [2]}, r"rotary positions are \[2\]"),
        ({"rope_theta": -1.0}, "positive rope_theta"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}}, "low_freq_factor 4"),
    ],
)
def test_a_config_that_is_another_network_is_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        config_of(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 3}, "missing: model.layers.2"),
        ({"num_hidden_layers": 1}, "unexpected: model.layers.1"),
        ({"num_key_value_heads": 4}, r"k_proj.weight \[8, 16\], wanted \[16, 16\]"),
        ({"num_key_value_heads": 3}, "4 heads cannot share 3"),
        ({"head_dim": 3}, "width 3 is odd"),
        ({"intermediate_size": 16}, r"mlp.down_proj.weight \[16, 24\], wanted \[16, 16\]"),
        ({"eos_token_id": [2, 64]}, r"eos_token_id is \[2, 64\]"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, changes, words):
    _, state = state_of(CONFIG)
    with pytest.raises((UsageError, ConversionError), match=words):
        load_tower(write(tmp_path / "model", state, **changes))


def test_swapped_axes_are_refused(tmp_path):
    _, state = state_of(CONFIG)
    state["model.layers.0.mlp.up_proj.weight"] = np.ascontiguousarray(state["model.layers.0.mlp.up_proj.weight"].T)
    with pytest.raises(ConversionError, match="of another shape"):
        load_tower(write(tmp_path / "model", state))


@pytest.fixture
def tower(tmp_path):
    return load_tower(write(tmp_path / "base", state_of(CONFIG)[1]))


def test_an_adapter_of_peft(tower, tmp_path):
    lora = Lora(3, 6.0, 0.1, ("down", "query", "value"))
    module = Llama(CONFIG, lora=lora)
    params = filled_variables(module, *INPUTS)["params"]
    save_adapter(params, lora, tmp_path / "new" / "adapter")  # its parent is made
    names = load_file(tmp_path / "new" / "adapter" / "adapter_model.safetensors")
    assert names["base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"].shape == (3, 16)
    assert names["base_model.model.model.layers.0.mlp.down_proj.lora_B.weight"].shape == (16, 3)
    adapted = add_adapter(tower, tmp_path / "new" / "adapter")
    assert adapted.module.lora == lora
    jax.tree.map(np.testing.assert_array_equal, adapted.params["params"], params)  # filled by path: the base is the same
    np.testing.assert_allclose(merge_adapter(adapted)(*INPUTS), adapted(*INPUTS), rtol=1e-4, atol=1e-4)
    assert np.abs(adapted(*INPUTS) - tower(*INPUTS)).max() > 0.1


def test_an_adapter_of_torch(tower, tmp_path):
    """As peft wrote it once: adapter_model.bin."""
    lora = Lora(3, 6.0, 0.1)
    save_adapter(filled_variables(Llama(CONFIG, lora=lora), *INPUTS)["params"], lora, tmp_path / "adapter")
    wanted = add_adapter(tower, tmp_path / "adapter")
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    (tmp_path / "adapter" / "adapter_model.bin").write_bytes(
        torch_layout.zip_file({name: torch_layout.tensor(array) for name, array in tensors.items()})
    )
    np.testing.assert_array_equal(add_adapter(tower, tmp_path / "adapter")(*INPUTS), wanted(*INPUTS))


def test_one_call_opens_a_model_with_its_adapter(tower, tmp_path):
    lora = Lora(3, 6.0, 0.1)
    save_adapter(filled_variables(Llama(CONFIG, lora=lora), *INPUTS)["params"], lora, tmp_path / "adapter")
    opened = audiojax.load_pretrained(tmp_path / "base", adapter=tmp_path / "adapter", progress=False)
    np.testing.assert_array_equal(opened(*INPUTS), add_adapter(tower, tmp_path / "adapter")(*INPUTS))
    with pytest.raises(UsageError, match=r"holds an adapter and no model: load_pretrained\(LLAMA, adapter="):
        audiojax.load_pretrained(tmp_path / "adapter")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"target_modules": ["lm_head"]}, "target_modules is"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save is"),
        ({"r": 4}, "of another shape"),
        ({"target_modules": ["q_proj"]}, "unexpected: "),
    ],
)
def test_an_adapter_of_another_kind_is_refused(tower, tmp_path, changes, words):
    lora = Lora(3, 6.0, 0.1)
    save_adapter(filled_variables(Llama(CONFIG, lora=lora), *INPUTS)["params"], lora, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises((UsageError, ConversionError), match=words):
        add_adapter(tower, tmp_path / "adapter")


def test_dtypes_are_the_callers(tmp_path):
    tower = load_tower(write(tmp_path / "model", state_of(CONFIG)[1]), dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(tower.params)} == {jnp.dtype(jnp.bfloat16)}
    assert jax.eval_shape(tower, *INPUTS).dtype == jnp.float32
