"""The residual perceptron of the bridge: its size, its beginning, and time that is worked out apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.models.residual_mlp import ResidualMlp, ResidualMlpConfig
from tests.encoders.filling import fill

SMALL = ResidualMlp(6, ResidualMlpConfig(width=8, blocks=2, frequencies=4))


def shapes_of(network):
    return jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, network.features)), jnp.zeros(1, jnp.int32))


@pytest.fixture(scope="module")
def variables():
    return fill(shapes_of(SMALL))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def test_published_size():
    """At d = 512: 5,250,048 in each of three blocks, and 20.2 M in all."""
    params = shapes_of(ResidualMlp(512))["params"]
    count = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in params.items()}
    assert {count[f"blocks_{i}"] for i in range(3)} == {(1024 * 3072 + 3072) + 2 * (1024**2 + 1024) + 2 * 1024}
    assert count["input"] == 512 * 1024 + 1024
    assert count["output"] == 1024 * 512 + 512
    assert sum(count.values()) == 20_212_224


def test_it_begins_without_blocks_and_not_at_zero(x):
    """Gates of zero leave out every block; the output is a linear map of the normalised input, whatever the time."""
    params = SMALL.init(jax.random.key(1), x, jnp.zeros(5, jnp.int32))["params"]
    now, later = (np.asarray(SMALL.apply({"params": params}, x, jnp.full(5, t))) for t in (0, 999))
    np.testing.assert_array_equal(now, later)
    hidden = x @ params["input"]["kernel"]
    hidden = (hidden - hidden.mean(axis=1, keepdims=True)) / np.sqrt(hidden.var(axis=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(now, hidden @ params["output"]["kernel"], atol=1e-5)
    assert np.linalg.norm(now, axis=1).min() > 0.1


def test_one_row_of_time_serves_all_vectors(variables, x):
    t = jnp.full(5, 40)
    one = SMALL.apply(variables, t[:1], method="modulation")
    np.testing.assert_allclose(SMALL.apply(variables, x, one, method="denoise"), SMALL.apply(variables, x, t), atol=1e-6)


def test_a_vector_and_its_time_decide_alone(variables, x):
    t = jnp.array([0, 10, 40, 400, 999])
    out = np.asarray(SMALL.apply(variables, x, t))
    np.testing.assert_allclose(SMALL.apply(variables, x[::-1], t[::-1])[::-1], out, atol=1e-6)
    other = np.asarray(SMALL.apply(variables, x, t.at[2].set(41)))
    assert not np.allclose(other[2], out[2], atol=1e-6)
    np.testing.assert_array_equal(np.delete(other, 2, axis=0), np.delete(out, 2, axis=0))


def test_half_precision_inside_and_float32_outside(variables, x):
    half = ResidualMlp(6, SMALL.config, dtype=jnp.bfloat16).apply(variables, x, jnp.full(5, 40))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, SMALL.apply(variables, x, jnp.full(5, 40)), rtol=0.1, atol=0.1)
