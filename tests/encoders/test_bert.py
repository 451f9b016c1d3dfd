"""BERT: published sizes, transformers' outputs from a golden file, and what padding, batch and jit must not change."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.bert import PRESETS, BertConfig, BertEncoder
from tests.encoders.filling import filled_variables, relative_error, token_batch

GOLDEN = Path(__file__).parents[1] / "golden" / "towers.npz"
NARROW = BertConfig(vocab_size=50, width=24, layers=2, heads=3, hidden=40, max_positions=20, pooler=True)


@pytest.mark.parametrize(("preset", "expected"), [("base", 109_482_240), ("large", 335_141_888)])
def test_published_sizes(preset, expected):
    module = BertEncoder(replace(PRESETS[preset], pooler=True))
    ids, mask = token_batch(1, 8, 100)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), ids, mask, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected


def test_tiny_preset_is_two_narrow_layers():
    config = PRESETS["tiny"]
    out = jax.eval_shape(lambda: BertEncoder(config).init_with_output(jax.random.key(0), *token_batch(3, 48, 100), train=False)[0])
    assert out.tokens.shape == (3, 48, 128)
    assert out.pooled is None
    assert config.layers == 2


def test_outputs_of_transformers():
    """The golden file holds what transformers' BertModel gives for these numbers; see tests/golden/make_towers.py."""
    module = BertEncoder(NARROW)
    ids, mask = token_batch(4, 13, 50)
    out = jax.jit(lambda v: module.apply(v, ids, mask, ids % 2, train=False))(filled_variables(module, ids, mask))
    golden = np.load(GOLDEN)
    assert relative_error(out.tokens[mask], golden["bert/tokens"]) < 1e-4
    assert relative_error(out.pooled, golden["bert/pooled"]) < 1e-4


@pytest.fixture(scope="module")
def tower():
    module = BertEncoder(NARROW)
    ids, mask = token_batch(4, 10, 50, seed=1)
    variables = filled_variables(module, ids, mask)
    return module, variables, ids, mask, jax.jit(lambda v, i, m: module.apply(v, i, m, train=False))


def test_padding_does_not_change_valid_tokens(tower):
    _, variables, ids, mask, encode = tower
    out = encode(variables, ids, mask)
    other = np.where(mask, ids, 7).astype(np.int32)
    np.testing.assert_allclose(encode(variables, other, mask).tokens[mask], out.tokens[mask], atol=1e-5)
    longer = encode(variables, np.pad(ids, ((0, 0), (0, 6)), constant_values=3), np.pad(mask, ((0, 0), (0, 6))))
    np.testing.assert_allclose(longer.tokens[:, :10][mask], out.tokens[mask], atol=1e-5)
    np.testing.assert_allclose(longer.pooled, out.pooled, atol=1e-5)


def test_a_row_of_padding_stays_finite(tower):
    _, variables, ids, mask, encode = tower
    assert np.isfinite(encode(variables, ids, np.zeros_like(mask)).tokens).all()


def test_rows_are_independent(tower):
    _, variables, ids, mask, encode = tower
    out, order = encode(variables, ids, mask).tokens, np.array([2, 0, 3, 1])
    np.testing.assert_allclose(encode(variables, ids[order], mask[order]).tokens, out[order], atol=1e-5)
    np.testing.assert_allclose(encode(variables, ids[1:2], mask[1:2]).tokens[0], out[1], atol=1e-5)


def test_jit_equals_no_jit(tower):
    module, variables, ids, mask, encode = tower
    np.testing.assert_allclose(module.apply(variables, ids, mask, train=False).tokens, encode(variables, ids, mask).tokens, atol=1e-5)


def test_word_order_matters(tower):
    _, variables, ids, mask, encode = tower
    swapped = ids[:, [0, 2, 1, *range(3, 10)]]
    assert np.abs(encode(variables, swapped, mask).pooled - encode(variables, ids, mask).pooled).max() > 1e-3


@pytest.mark.parametrize("field", ["dropout", "attention_dropout"])
def test_each_dropout_acts_in_training(field):
    """In evaluation it must not: the other tests pass no rng, which an active dropout would refuse."""
    quiet = replace(NARROW, dropout=0.0, attention_dropout=0.0)
    module = BertEncoder(replace(quiet, layers=1, **{field: 0.5}))
    ids, mask = token_batch(2, 6, 50)
    variables = filled_variables(module, ids, mask)
    noisy = jax.jit(lambda seed: module.apply(variables, ids, mask, train=True, rngs={"dropout": jax.random.key(seed)}).tokens)
    a, b, again = (noisy(seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 1e-3


def test_bfloat16_keeps_float32_parameters(tower):
    _, variables, ids, mask, encode = tower
    half = BertEncoder(NARROW, dtype=jnp.bfloat16)
    made = jax.eval_shape(lambda: half.init(jax.random.key(0), ids, mask, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}
    tokens = jax.jit(lambda: half.apply(variables, ids, mask, train=False).tokens)()
    assert tokens.dtype == jnp.bfloat16
    assert relative_error(tokens.astype(jnp.float32)[mask], encode(variables, ids, mask).tokens[mask]) < 0.05


def test_too_long_a_sequence_is_named():
    with pytest.raises(ValueError, match="21 tokens, but this BERT has 20 positions"):
        jax.eval_shape(lambda: BertEncoder(NARROW).init(jax.random.key(0), *token_batch(1, 21, 50), train=False))
