"""LLaMA: published sizes, transformers' outputs from a golden file, and what padding, batch, cache and mesh must not change."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from audiojax.models.decoding import Decoding
from audiojax.models.llama import PARTITION_RULES, PRESETS, Llama, LlamaConfig
from audiojax.models.llama_generation import generate, put_prefix
from audiojax.nn.lora import LORA, Lora
from audiojax.nn.rope import RopeScaling
from audiojax.partition import param_spec, split_params, unmatched_rules
from audiojax.trainer.layout import make_layout
from tests.encoders.filling import filled_variables, relative_error, token_batch

GOLDEN = Path(__file__).parents[1] / "golden" / "llama.npz"
SIZES = {"vocab_size": 50, "width": 24, "layers": 2, "heads": 4, "hidden": 40, "max_positions": 64}
NARROW = {
    "plain": LlamaConfig(**SIZES, kv_heads=4, head_width=6),
    "grouped": LlamaConfig(
        **SIZES, kv_heads=2, head_width=8, tie_embeddings=True, rope_theta=100.0, rope_scaling=RopeScaling("llama3", 4.0, 1.0, 4.0, 16)
    ),
    "biased": LlamaConfig(
        **SIZES, kv_heads=1, head_width=6, qkv_bias=True, out_bias=True, mlp_bias=True, rope_scaling=RopeScaling("linear", 2.0)
    ),
}
END, BEAMS = 30, 3  # of the golden continuations


def count(config):
    variables = jax.eval_shape(lambda: Llama(config).init(jax.random.key(0), *token_batch(1, 8, 50), train=False))
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(
    ("preset", "expected"), [("llama-2-7b", 6_738_415_616), ("tinyllama-1.1b", 1_100_048_384), ("llama-3.2-1b", 1_235_814_400)]
)
def test_published_sizes(preset, expected):
    assert count(PRESETS[preset]) == expected


def test_tiny_preset_shares_keys_and_values():
    config = PRESETS["tiny"]
    logits = jax.eval_shape(lambda: Llama(config).init_with_output(jax.random.key(0), *token_batch(3, 20, 100), train=False)[0])
    assert (logits.shape, logits.dtype) == ((3, 20, 1_000), jnp.float32)
    assert (config.layers, config.heads, config.kv_heads) == (2, 4, 2)


@pytest.mark.parametrize("name", NARROW)
def test_outputs_of_transformers(name):
    """The golden file holds what transformers' LlamaForCausalLM gives for these numbers; see tests/golden/make_llama.py."""
    module, golden = Llama(NARROW[name]), np.load(GOLDEN)
    ids, mask = token_batch(4, 13, 50)
    variables = filled_variables(module, ids, mask)
    logits = jax.jit(lambda v: module.apply(v, ids, mask, train=False))(variables)
    assert relative_error(logits[mask], golden[f"{name}/logits"]) < 1e-4
    prompts = ids[:, :9], np.ones((4, 9), bool)
    if name == "grouped":
        greedy = generate(module, variables, *prompts, Decoding(8, eos_ids=(END,)))
        np.testing.assert_array_equal(greedy.tokens, golden["grouped/greedy"])
        beams = generate(module, variables, *prompts, Decoding(8, eos_ids=(END,), num_beams=BEAMS))
        np.testing.assert_array_equal(beams.tokens, golden["grouped/beams"])
        assert (beams.lengths < 8).any()  # some hypotheses end early


@pytest.fixture(scope="module")
def model():
    module = Llama(NARROW["grouped"])
    ids, mask = token_batch(4, 10, 50, seed=1)
    return module, filled_variables(module, ids, mask), ids, mask, jax.jit(lambda v, i, m: module.apply(v, i, m, train=False))


def test_padding_does_not_change_valid_positions(model):
    _, variables, ids, mask, run = model
    logits = run(variables, ids, mask)
    np.testing.assert_allclose(run(variables, np.where(mask, ids, 7).astype(np.int32), mask)[mask], logits[mask], atol=1e-5)
    left = [np.stack([np.roll(row, i) for i, row in enumerate(x)]) for x in (ids, mask)]  # row i has i positions of padding
    moved = run(variables, *left)
    for i in range(4):
        np.testing.assert_allclose(moved[i, i:], logits[i, : 10 - i], atol=1e-5)


def test_a_row_of_padding_stays_finite(model):
    _, variables, ids, mask, run = model
    assert np.isfinite(run(variables, ids, np.zeros_like(mask))).all()


def test_positions_see_what_is_before_them_alone(model):
    _, variables, ids, mask, run = model
    logits, mask = run(variables, ids, np.ones_like(mask)), np.ones_like(mask)
    changed = ids.copy()
    changed[:, 6] = (ids[:, 6] + 1) % 50
    after = run(variables, changed, mask)
    np.testing.assert_array_equal(after[:, :6], logits[:, :6])
    assert np.abs(after[:, 6:] - logits[:, 6:]).max(axis=-1).min() > 1e-3


def test_rows_are_independent(model):
    _, variables, ids, mask, run = model
    logits, order = run(variables, ids, mask), np.array([2, 0, 3, 1])
    np.testing.assert_allclose(run(variables, ids[order], mask[order]), logits[order], atol=1e-5)


def test_embeddings_stand_for_their_tokens(model):
    module, variables, ids, mask, run = model
    embeds = module.apply(variables, ids, method="embed")
    np.testing.assert_allclose(run(variables, embeds, mask), run(variables, ids, mask), atol=1e-5)
    soft, whole = put_prefix(embeds[:, :1], mask[:, :1], embeds[:, 1:4], at=1)
    np.testing.assert_array_equal(soft, embeds[:, :4])
    assert whole.all()


@pytest.mark.parametrize("name", ["grouped", pytest.param("biased", marks=pytest.mark.slow)])
def test_the_cache_gives_what_the_whole_sequence_gives(name):
    module = Llama(NARROW[name])
    ids, mask = token_batch(3, 9, 50, seed=2)
    variables = filled_variables(module, ids, mask)

    @jax.jit
    def both(variables):
        logits, cache = module.apply(variables, module.apply(variables, ids[:, :7], method="embed"), mask[:, :7], 2, method="prefill")
        found = [logits]
        for i in range(2):
            logits, cache = module.apply(variables, ids[:, 7 + i], cache, jnp.int32(7 + i), method="step")
            found.append(logits)
        return jnp.stack(found, axis=1), module.apply(variables, ids, mask.at[:, 7:].set(True), train=False)

    mask = jnp.asarray(mask).at[:, 5].set(False).at[:, 6].set(jnp.array([True, True, False]))  # holes, as a bucket leaves them
    stepped, whole = both(variables)
    last = np.array([6, 6, 4])
    np.testing.assert_allclose(stepped[:, 0], whole[np.arange(3), last], atol=1e-5)
    np.testing.assert_allclose(stepped[:, 1:], whole[:, 7:], atol=1e-5)


def test_jit_equals_no_jit():
    module = Llama(replace(NARROW["biased"], layers=1))
    ids, mask = token_batch(2, 6, 50)
    variables = filled_variables(module, ids, mask)
    want = jax.jit(lambda v: module.apply(v, ids, mask, train=False))(variables)
    np.testing.assert_allclose(module.apply(variables, ids, mask, train=False), want, atol=1e-5)


def test_gradients_are_finite_with_padding(model):
    module, variables, ids, mask, _ = model
    mask = mask.copy()
    mask[3] = False

    def loss(variables):
        chances = jax.nn.log_softmax(module.apply(variables, ids, mask, train=True))
        return -jnp.sum(jnp.where(mask, chances[..., 3], 0))

    gradients = jax.jit(jax.grad(loss))(variables)
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))


def test_layers_that_are_computed_again_have_the_same_gradients(model):
    """Layer by layer, or by one program for all layers, which have their own parameters."""
    module, variables, ids, mask, _ = model
    module = module.clone(lora=Lora(2, 8.0, 0.0, ("query", "down")))
    variables = filled_variables(module, ids, mask)

    def gradients(**how):
        return jax.grad(lambda variables: jnp.mean(module.clone(**how).apply(variables, ids, mask, train=True) ** 2))

    ways = [gradients(remat=remat, scan=scan) for scan in (False, True) for remat in (False, True)]
    written = [str(jax.make_jaxpr(way)(variables)) for way in ways]
    assert ["scan[" in text for text in written] == [False, False, True, True]
    assert ["remat" in text or "checkpoint" in text for text in written] == [False, True, False, True]
    expected, *found = (jax.jit(way)(variables) for way in ways)
    for one in found:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, expected)


def test_layers_by_one_program_drop_what_their_key_says(model):
    module, _, ids, mask, _ = model
    module = module.clone(lora=Lora(2, 8.0, 0.5, ("query", "down")), scan=True)
    variables = filled_variables(module, ids, mask)
    call = jax.jit(lambda seed: module.apply(variables, ids, mask, train=True, rngs={"dropout": jax.random.key(seed)}))
    np.testing.assert_array_equal(call(0), call(0))
    assert np.abs(call(0) - call(1)).max() > 1e-3
    keys = []
    with pytest.MonkeyPatch.context() as patch:  # each layer has a key of its own
        split = jax.random.split
        patch.setattr(jax.random, "split", lambda key, count=2: keys.append(count) or split(key, count))
        module.apply(variables, ids, mask, train=True, rngs={"dropout": jax.random.key(0)})
    assert module.config.layers in keys


def test_adapters_stay_in_float32_beside_a_base_in_bfloat16(model):
    module, _, ids, mask, _ = model
    half = module.clone(lora=Lora(2), dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    params = jax.eval_shape(lambda: half.init(jax.random.key(0), ids, mask, train=False))["params"]
    adapter, base = split_params(params, LORA)
    assert {leaf.dtype for leaf in jax.tree.leaves(adapter)} == {jnp.dtype(jnp.float32)}
    assert {leaf.dtype for leaf in jax.tree.leaves(base)} == {jnp.dtype(jnp.bfloat16)}


def test_half_precision_keeps_float32_parameters_and_logits(model):
    module, variables, ids, mask, run = model
    half = module.clone(dtype=jnp.bfloat16)
    made = jax.eval_shape(lambda: half.init(jax.random.key(0), ids, mask, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}
    logits = jax.jit(lambda: half.apply(variables, ids, mask, train=False))()
    assert logits.dtype == jnp.float32
    assert relative_error(logits[mask], run(variables, ids, mask)[mask]) < 0.02


def test_a_mesh_gives_what_one_device_gives():
    config = LlamaConfig(vocab_size=64, width=32, layers=1, heads=4, kv_heads=2, head_width=8, hidden=48, max_positions=32)
    module = Llama(config)
    ids, mask = token_batch(4, 8, 64)
    params = filled_variables(module, ids, mask)["params"]
    assert unmatched_rules(PARTITION_RULES, params) == []
    layout = make_layout("mesh", (2, 2, 2))

    def sharding(path, leaf):
        name = "/".join(part.key for part in path)
        return NamedSharding(layout.mesh, param_spec(name, leaf.shape, PARTITION_RULES, layout.mesh))

    placed = jax.device_put(params, jax.tree_util.tree_map_with_path(sharding, params))
    assert placed["layer_0"]["attention"]["query"]["kernel"].sharding.spec == PartitionSpec("fsdp", "tensor")
    run = jax.jit(lambda p, i, m: module.apply({"params": p}, i, m, train=False))
    spread = run(placed, *(jax.device_put(x, layout.batch_sharding) for x in (ids, mask)))
    assert len(spread.sharding.device_set) == 8
    np.testing.assert_allclose(spread, run(params, ids, mask), atol=1e-5)


def test_sizes_that_make_no_model_are_refused(model):
    module, variables, *_ = model
    with pytest.raises(ValueError, match="65 tokens, but this LLaMA has 64 positions"):
        module.apply(variables, *token_batch(1, 65, 50), train=False)
    with pytest.raises(ValueError, match="4 heads cannot share 3"):
        count(replace(NARROW["plain"], kv_heads=3))
    with pytest.raises(ValueError, match="width 5 is odd"):
        count(replace(NARROW["plain"], head_width=5))
