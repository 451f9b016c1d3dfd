"""Adapters: nothing at first, the formula, what trains, dropout, and folding them into the kernels."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.models.llama import PRESETS, Llama, LlamaConfig
from audiojax.nn.lora import LORA, Lora, LoraDense, merge_lora
from audiojax.partition import flat_paths, merge_params, split_params
from tests.encoders.filling import filled_variables, token_batch

CONFIG = LlamaConfig(vocab_size=50, width=24, layers=1, heads=4, kv_heads=2, head_width=6, hidden=40, max_positions=64, qkv_bias=True)
ALL = ("query", "key", "value", "out", "gate", "up", "down")


@pytest.fixture(scope="module")
def adapted():
    module = Llama(CONFIG, lora=Lora(3, 6.0, 0.0, ALL))
    ids, mask = token_batch(2, 6, 50)
    return module, filled_variables(module, ids, mask)["params"], ids, mask


def test_the_formula_with_dropout_of_the_input_of_a():
    shapes = [(1, 5), (5, 4), (4,), (5, 2), (2, 4)]
    x, kernel, bias, a, b = (np.random.RandomState(i).standard_normal(shape).astype(np.float32) for i, shape in enumerate(shapes))
    variables = {"params": {"kernel": kernel, "bias": bias, "lora_a": a, "lora_b": b}}
    module = LoraDense(4, Lora(2, 8.0, 0.5, ()), train=False)
    plain = x @ kernel + bias[None]
    np.testing.assert_allclose(module.apply(variables, x), plain + 4 * x @ a @ b, atol=1e-4)
    noisy = module.clone(train=True).apply(variables, x, rngs={"dropout": jax.random.key(0)})
    kept = [np.array(bits, np.float32)[None] for bits in itertools.product([0, 1], repeat=5)]
    assert min(np.abs(plain + 4 * (2 * x * keep) @ a @ b - noisy).max() for keep in kept) < 1e-4  # one of the 32 ways to drop inputs
    assert np.abs(noisy - module.apply(variables, x)).max() > 0.1


def test_a_fresh_adapter_changes_nothing(adapted):
    module, params, ids, mask = adapted
    fresh = jax.jit(lambda: module.init(jax.random.key(0), ids, mask, train=False))()["params"]
    trainable, frozen = split_params(params, LORA)
    start, _ = split_params(fresh, LORA)
    run = jax.jit(lambda p: module.apply({"params": p}, ids, mask, train=False))
    plain = jax.jit(lambda p: module.clone(lora=None).apply({"params": p}, ids, mask, train=False))(frozen)
    np.testing.assert_allclose(run(merge_params(start, frozen)), plain, atol=1e-5)
    assert np.abs(run(params) - plain).max() > 0.1
    assert all(np.abs(leaf).max() > 0 for path, leaf in flat_paths(start).items() if path.endswith("lora_a"))
    assert len(flat_paths(trainable)) == 2 * len(ALL)


def test_merged_equals_unmerged(adapted):
    module, params, ids, mask = adapted
    merged = merge_lora(params, module.lora)
    assert not any("lora" in path for path in flat_paths(merged))
    want = module.apply({"params": params}, ids, mask, train=False)
    got = module.clone(lora=None).apply({"params": merged}, ids, mask, train=False)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_only_what_is_targeted_is_adapted():
    params = jax.eval_shape(lambda: Llama(CONFIG, lora=Lora()).init(jax.random.key(0), *token_batch(1, 3, 50), train=False))["params"]
    names = {path for path in flat_paths(params) if "lora" in path}
    assert names == {f"layer_0/attention/{name}/lora_{leaf}" for name in ("query", "value") for leaf in "ab"}


def test_trainable_parameters_of_llama_2():
    """Rank 8 on queries and values of the 7B model: 4.19 million in 32 layers, as DRCap reports."""
    module = Llama(replace(PRESETS["llama-2-7b"], layers=1), lora=Lora())
    params = jax.eval_shape(lambda: module.init(jax.random.key(0), *token_batch(1, 3, 50), train=False))["params"]
    trainable, _ = split_params(params, LORA)
    assert 32 * sum(leaf.size for leaf in jax.tree.leaves(trainable)) == 4_194_304


def test_gradients_reach_the_adapter(adapted):
    module, params, ids, mask = adapted
    trainable, frozen = split_params(params, LORA)

    def loss(trainable):
        return jnp.mean(module.apply({"params": merge_params(trainable, frozen)}, ids, mask, train=True) ** 2)

    gradients = jax.jit(jax.grad(loss))(trainable)
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
