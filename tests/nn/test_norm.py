"""Normalisations against their formulas, and their float32 arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.nn.norm import GroupNorm, RmsNorm


def test_formula():
    x = np.random.RandomState(0).standard_normal((2, 3, 8)).astype(np.float32) + 1
    norm = RmsNorm(epsilon=0.5)
    params = norm.init(jax.random.key(0), x)["params"]
    np.testing.assert_array_equal(params["scale"], np.ones(8))
    scale = np.linspace(-1, 2, 8, dtype=np.float32)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.5) * scale[None, None]
    np.testing.assert_allclose(norm.apply({"params": {"scale": scale}}, x), expected, atol=1e-6)


def test_half_precision_is_normalised_in_float32(strict_dtypes):
    """The squares of 300 leave float16, and 4096 of them summed one by one stay far below their sum in bfloat16."""
    for dtype in (jnp.float16, jnp.bfloat16):
        norm = RmsNorm(dtype=dtype)
        x = jnp.full((1, 4096), 300, dtype)
        out = norm.apply(norm.init(jax.random.key(0), x), x)
        assert out.dtype == dtype
        np.testing.assert_array_equal(out.astype(jnp.float32), np.ones((1, 4096)))


def test_groups_of_channels():
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 6)).astype(np.float32) * 3 + 5
    scale, bias = np.linspace(-1, 2, 6, dtype=np.float32), np.linspace(0, 1, 6, dtype=np.float32)
    grouped = x.reshape(2, 12, 2, 3)
    mean, variance = grouped.mean((1, 3), keepdims=True), grouped.var((1, 3), keepdims=True)
    want = ((grouped - mean) / np.sqrt(variance + 0.5)).reshape(x.shape) * scale + bias
    got = GroupNorm(2, 0.5).apply({"params": {"scale": scale, "bias": bias}}, x)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_groups_of_constant_channels_in_half_precision():
    """A mean of squares minus a squared mean must not come out negative."""
    norm = GroupNorm(2, 1e-6, dtype=jnp.bfloat16)
    x = jnp.full((1, 300, 4), 77.7, jnp.bfloat16)
    out = norm.apply(norm.init(jax.random.key(0), x), x)
    assert out.dtype == jnp.bfloat16
    assert np.isfinite(out.astype(jnp.float32)).all()


def test_channels_that_make_no_groups_are_refused():
    with pytest.raises(ValueError, match="196 channels do not divide into 32 groups"):
        GroupNorm(32).init(jax.random.key(0), np.zeros((1, 2, 196), np.float32))
