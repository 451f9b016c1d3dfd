"""T5's encoder: published sizes, transformers' outputs from a golden file, and what padding, batch and jit must not change."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.t5 import PRESETS, T5Config, T5Encoder
from tests.encoders.filling import fill, relative_error, token_batch

GOLDEN = Path(__file__).parents[1] / "golden" / "towers.npz"
SIZES = {"vocab_size": 50, "width": 24, "layers": 2, "heads": 3, "head_width": 10, "hidden": 40, "buckets": 8, "max_distance": 9}
NARROW = {"t5": T5Config(**SIZES), "flan_t5": T5Config(**SIZES, gated=True)}  # buckets and distance so small that 13 tokens meet them all


def t5_variables(module, ids, mask):
    """Filled variables that spread as T5's first weights do: with larger queries the unscaled scores would pick single keys."""
    variables = fill(jax.eval_shape(lambda: module.init(jax.random.key(0), ids, mask, train=False)))

    def spread(path, leaf):
        name = "/".join(part.key for part in path)
        if name.endswith("kernel"):
            leaf = leaf * np.float32(0.5**0.5)
        if "query" in name:
            leaf = leaf * np.float32(module.config.head_width**-0.5)
        return leaf * np.float32(5) if "word" in name else leaf

    return jax.tree_util.tree_map_with_path(spread, variables)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("t5-small", 35_330_816),
        ("t5-base", 109_628_544),
        ("t5-large", 334_939_648),
        ("t5-3b", 1_240_909_824),
        ("flan-t5-small", 35_332_800),
        ("flan-t5-base", 109_628_544),
        ("flan-t5-large", 341_231_104),
        ("flan-t5-xl", 1_223_527_424),
    ],
)
def test_published_sizes(preset, expected):
    module = T5Encoder(PRESETS[preset])
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), *token_batch(1, 8, 100), train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected


def test_tiny_preset_is_two_narrow_gated_layers():
    config = PRESETS["tiny"]
    out = jax.eval_shape(lambda: T5Encoder(config).init_with_output(jax.random.key(0), *token_batch(3, 48, 100), train=False)[0])
    assert out.shape == (3, 48, 128)
    assert (config.layers, config.gated) == (2, True)


@pytest.mark.parametrize("name", NARROW)
def test_outputs_of_transformers(name):
    """The golden file holds what transformers' T5EncoderModel gives for these numbers; see tests/golden/make_towers.py."""
    module = T5Encoder(NARROW[name])
    ids, mask = token_batch(4, 13, 50)
    tokens = jax.jit(lambda v: module.apply(v, ids, mask, train=False))(t5_variables(module, ids, mask))
    assert relative_error(tokens[mask], np.load(GOLDEN)[f"{name}/tokens"]) < 1e-4


@pytest.fixture(scope="module")
def tower():
    module = T5Encoder(NARROW["flan_t5"])
    ids, mask = token_batch(4, 10, 50, seed=1)
    variables = t5_variables(module, ids, mask)
    return module, variables, ids, mask, jax.jit(lambda v, i, m: module.apply(v, i, m, train=False))


def test_padding_does_not_change_valid_tokens(tower):
    _, variables, ids, mask, encode = tower
    tokens = encode(variables, ids, mask)
    np.testing.assert_allclose(encode(variables, np.where(mask, ids, 7).astype(np.int32), mask)[mask], tokens[mask], atol=1e-5)
    wider = [((0, 0), (0, 6)), ((0, 0), (6, 0))]  # positions are relative: padding may stand on either side
    for pad, place in zip(wider, (slice(0, 10), slice(6, 16)), strict=True):
        longer = encode(variables, np.pad(ids, pad, constant_values=3), np.pad(mask, pad))
        np.testing.assert_allclose(longer[:, place][mask], tokens[mask], atol=1e-5)


def test_a_row_of_padding_stays_finite(tower):
    _, variables, ids, mask, encode = tower
    assert np.isfinite(encode(variables, ids, np.zeros_like(mask))).all()


def test_rows_are_independent(tower):
    _, variables, ids, mask, encode = tower
    tokens, order = encode(variables, ids, mask), np.array([2, 0, 3, 1])
    np.testing.assert_allclose(encode(variables, ids[order], mask[order]), tokens[order], atol=1e-5)
    np.testing.assert_allclose(encode(variables, ids[1:2], mask[1:2])[0], tokens[1], atol=1e-5)


def test_jit_equals_no_jit(tower):
    module, variables, ids, mask, encode = tower
    np.testing.assert_allclose(module.apply(variables, ids, mask, train=False), encode(variables, ids, mask), atol=1e-5)


def test_word_order_matters_through_the_relative_positions_alone(tower):
    _, variables, ids, mask, encode = tower
    mask, order = np.ones_like(mask), np.array([1, 0, *range(2, 10)])
    moved = encode(variables, ids[:, order], mask)[:, order]
    assert np.abs(moved - encode(variables, ids, mask)).max() > 1e-2
    level = jax.tree.map(lambda leaf: leaf, variables)
    level["params"]["relative_position"] = {"embedding": np.ones((8, 3), np.float32)}
    np.testing.assert_allclose(encode(level, ids[:, order], mask)[:, order], encode(level, ids, mask), atol=1e-5)


def test_dropout_acts_in_training_only():
    """In evaluation it must not: the other tests pass no rng, which an active dropout would refuse."""
    module = T5Encoder(replace(NARROW["t5"], layers=1, dropout=0.5))
    ids, mask = token_batch(2, 6, 50)
    variables = t5_variables(module, ids, mask)
    noisy = jax.jit(lambda seed: module.apply(variables, ids, mask, train=True, rngs={"dropout": jax.random.key(seed)}))
    a, b, again = (noisy(seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 1e-3


def test_first_weights_keep_scores_near_one():
    """Unscaled scores of a fresh tower spread as the scaled ones of other transformers do: the query weights make up for it."""
    module = T5Encoder(PRESETS["tiny"])
    params = jax.jit(lambda: module.init(jax.random.key(0), *token_batch(1, 8, 100), train=False))()["params"]
    attention = params["layer_0"]["attention"]
    assert np.std(attention["query"]["kernel"]) == pytest.approx((128 * 32) ** -0.5, rel=0.05)
    assert np.std(attention["key"]["kernel"]) == pytest.approx(128**-0.5, rel=0.05)
    assert np.std(params["layer_1"]["mlp"]["down"]["kernel"]) == pytest.approx(256**-0.5, rel=0.05)
    assert np.std(params["word"]["embedding"]) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_keeps_float32_parameters(tower, dtype):
    _, variables, ids, mask, encode = tower
    half = T5Encoder(NARROW["flan_t5"], dtype=dtype)
    made = jax.eval_shape(lambda: half.init(jax.random.key(0), ids, mask, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}
    tokens = jax.jit(lambda: half.apply(variables, ids, mask, train=False))()
    assert tokens.dtype == dtype
    assert relative_error(tokens.astype(jnp.float32)[mask], encode(variables, ids, mask)[mask]) < 0.02


def test_states_beyond_the_range_of_float16(tower):
    """FLAN-T5's residual stream leaves that range at a few features; the stream and the map that feeds it are float32."""
    _, variables, ids, mask, encode = tower
    large = jax.tree.map(lambda leaf: leaf, variables)
    large["params"]["layer_0"]["mlp"]["down"]["kernel"] = variables["params"]["layer_0"]["mlp"]["down"]["kernel"] * 100_000
    tokens = jax.jit(lambda: T5Encoder(NARROW["flan_t5"], dtype=jnp.float16).apply(large, ids, mask, train=False))()
    assert relative_error(tokens.astype(jnp.float32)[mask], encode(large, ids, mask)[mask]) < 0.02
