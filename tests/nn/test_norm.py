"""Root-mean-square normalisation against its formula, and its float32 arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np

from audiojax.nn.norm import RmsNorm


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
