"""The two-layer perceptron against its formula, and its weights at the start."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from audiojax.nn.mlp import Mlp, gelu_exact


def test_formula_and_first_weights():
    head = Mlp(hidden=16, width=4)
    x = np.random.RandomState(0).standard_normal((3, 8)).astype(np.float32)
    params = head.init(jax.random.key(0), x, train=False)["params"]
    assert jax.tree.map(jnp.shape, params) == {"up": {"kernel": (8, 16), "bias": (16,)}, "down": {"kernel": (16, 4), "bias": (4,)}}
    assert not params["up"]["bias"].any()
    assert np.abs(params["up"]["kernel"]).max() <= math.sqrt(6 / 24)  # Xavier's bound
    params = jax.tree.map(lambda p: p + 0.1, params)
    hidden = np.maximum(x @ params["up"]["kernel"] + params["up"]["bias"][None], 0)
    expected = hidden @ params["down"]["kernel"] + params["down"]["bias"][None]
    np.testing.assert_allclose(head.apply({"params": params}, x, train=True), expected, atol=1e-5)


def test_dropout_zeroes_hidden_units():
    head = Mlp(hidden=1_000, width=1, activation=jnp.ones_like, dropout=0.25)
    x = np.zeros((1, 2), np.float32)
    params = {"up": {"kernel": np.zeros((2, 1_000)), "bias": np.zeros(1_000)}, "down": {"kernel": np.ones((1_000, 1)), "bias": np.zeros(1)}}
    assert head.apply({"params": params}, x, train=False)[0, 0] == 1_000
    kept = head.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.key(0)})[0, 0] * 0.75
    assert 690 < kept < 810  # of 1,000, 4.4 standard deviations either way


def test_exact_gelu():
    x = np.linspace(-4, 4, 33)
    expected = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x]
    np.testing.assert_allclose(gelu_exact(jnp.asarray(x, jnp.float32)), expected, atol=2e-6)


def test_gated_form_without_biases():
    mlp = Mlp(hidden=6, width=3, activation=jax.nn.silu, gated=True, use_bias=False)
    x = np.random.RandomState(0).standard_normal((2, 4)).astype(np.float32)
    params = mlp.init(jax.random.key(0), x, train=False)["params"]
    assert jax.tree.map(jnp.shape, params) == {"gate": {"kernel": (4, 6)}, "up": {"kernel": (4, 6)}, "down": {"kernel": (6, 3)}}
    gate, up, down = (np.asarray(params[name]["kernel"]) for name in ("gate", "up", "down"))
    expected = (x @ gate / (1 + np.exp(-x @ gate)) * (x @ up)) @ down
    np.testing.assert_allclose(mlp.apply({"params": params}, x, train=False), expected, atol=1e-5)


def test_the_last_map_can_have_a_wider_range():
    """300 * 300 leaves float16, whose largest number is 65,504."""
    x = np.full((1, 1), 300, np.float32)
    params = {name: {"kernel": np.full((1, 1), value, np.float32)} for name, value in {"up": 1, "down": 300}.items()}
    narrow = Mlp(hidden=1, width=1, use_bias=False, dtype=jnp.float16)
    assert np.isinf(narrow.apply({"params": params}, x, train=False)).all()
    wide = narrow.clone(down_dtype=jnp.float32).apply({"params": params}, x, train=False)
    assert wide.dtype == jnp.float32
    assert wide[0, 0] == 90_000
