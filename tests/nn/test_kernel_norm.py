"""Weight norm and spectral norm as functions of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.nn.kernel_norm import first_vectors, spectral_normed, weight_normed, with_gains

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def tree(seed=0, features=3):
    rng = np.random.default_rng(seed)

    def layer(*shape):
        return {"kernel": jnp.asarray(rng.normal(size=shape), jnp.float32), "bias": jnp.asarray(rng.normal(size=shape[-1:]), jnp.float32)}

    return {"conv": layer(3, 1, 4, features), "up_0": layer(5, 4, 2), "out": layer(7, features, 1)}


@given(st.integers(0, 1_000), st.integers(1, 6))
def test_kernels_stay_as_they_are_whatever_the_directions_lengths(seed, features):
    params = tree(seed, features)
    split = with_gains(params, transposed="^up_")
    longer = {**split, "direction": jax.tree.map(lambda x: 3.0 * x, params)}
    for name, layer in weight_normed(split).items():
        np.testing.assert_allclose(layer["kernel"], params[name]["kernel"], rtol=1e-5)
        np.testing.assert_array_equal(layer["bias"], params[name]["bias"])
        np.testing.assert_allclose(weight_normed(longer)[name]["kernel"], params[name]["kernel"], rtol=1e-5)


def test_gains_are_those_of_torch_output_channels_and_input_channels_of_transposed_convolutions():
    split = with_gains(tree(), transposed="^up_", without="^out/")
    assert jax.tree.map(lambda x: x.shape, split["gain"]) == {"conv": {"kernel": (1, 1, 1, 3)}, "up_0": {"kernel": (1, 4, 1)}}
    gains = split["gain"]["conv"]["kernel"][0, 0, 0]
    np.testing.assert_allclose(gains, np.linalg.norm(np.asarray(tree()["conv"]["kernel"]).reshape(12, 3), axis=0), rtol=1e-6)
    doubled = {**split, "gain": jax.tree.map(lambda g: 2.0 * g, split["gain"])}
    np.testing.assert_allclose(weight_normed(doubled)["up_0"]["kernel"], 2 * tree()["up_0"]["kernel"], rtol=1e-5)
    np.testing.assert_array_equal(weight_normed(doubled)["out"]["kernel"], tree()["out"]["kernel"])


def test_spectral_norm_finds_the_largest_singular_value():
    params = {"conv": tree()["conv"]}
    vectors = first_vectors(jax.random.key(0), params)
    assert vectors["conv"]["kernel"].shape == (3,)
    for _ in range(60):
        normed, vectors = spectral_normed(params, vectors)
    matrix = np.asarray(params["conv"]["kernel"]).reshape(12, 3)
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    np.testing.assert_allclose(normed["conv"]["kernel"].reshape(12, 3), matrix / largest, rtol=1e-4)
    np.testing.assert_array_equal(normed["conv"]["bias"], params["conv"]["bias"])


def test_a_kernel_cannot_grow_against_its_spectral_norm():
    """W / sigma has no gradient along W itself once the vectors are those of W."""
    params = {"conv": tree()["conv"]}
    vectors = first_vectors(jax.random.key(0), params)
    for _ in range(60):
        _, vectors = spectral_normed(params, vectors)

    def total(scale):
        grown = jax.tree.map(lambda x: scale * x, params)
        return jnp.sum(jnp.square(spectral_normed(grown, vectors)[0]["conv"]["kernel"]))

    assert abs(float(jax.grad(total)(1.0))) < 1e-4
