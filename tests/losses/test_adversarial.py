"""Adversarial losses against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.losses.adversarial import (
    adaptive_weight,
    feature_matching_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes")
REAL = jnp.array([[2.0, 0.5], [-1.0, 1.0]])
MADE = jnp.array([[-2.0, 0.0], [3.0, -0.5]])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (hinge_discriminator_loss, [(0.25 + 0.5) / 2, (1.0 + 2.25) / 2]),
        (least_squares_discriminator_loss, [(1.0 + 0.25) / 2 + 2.0, 2.0 + (9.0 + 0.25) / 2]),
    ],
)
def test_losses_of_discriminators(loss, expected):
    np.testing.assert_allclose(loss(REAL, MADE), expected, rtol=1e-6)
    np.testing.assert_allclose(loss(REAL[:, :, None], MADE[:, :, None]), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(hinge_generator_loss, [1.0, -1.25]), (least_squares_generator_loss, [(9.0 + 1.0) / 2, (4.0 + 2.25) / 2])],
)
def test_losses_of_generators(loss, expected):
    np.testing.assert_allclose(loss(MADE), expected, rtol=1e-6)


def test_a_discriminator_that_is_sure_has_nothing_to_learn():
    assert float(jnp.sum(hinge_discriminator_loss(jnp.full((2, 3), 1.5), jnp.full((2, 3), -1.5)))) == 0.0
    assert float(jnp.sum(least_squares_discriminator_loss(jnp.ones((2, 3)), jnp.zeros((2, 3))))) == 0.0


def test_features_match_layer_by_layer():
    real = [jnp.zeros((2, 4)), jnp.ones((2, 3, 5))]
    made = [jnp.full((2, 4), 0.5), jnp.stack([jnp.full((3, 5), 3.0), jnp.ones((3, 5))])]
    np.testing.assert_allclose(feature_matching_loss(real, made), [2.5, 0.5], rtol=1e-6)
    with pytest.raises(ValueError, match="shorter"):
        feature_matching_loss(real, made[:1])


def test_the_adaptive_weight_is_a_ratio_of_lengths():
    assert float(adaptive_weight(jnp.array([3.0, 4.0]), jnp.array([[0.0, 2.0]]))) == pytest.approx(5 / 2.0001)
    assert float(adaptive_weight({"a": jnp.array([3.0]), "b": jnp.array([4.0])}, (jnp.array([-0.5]),))) == pytest.approx(5 / 0.5001)


def test_the_adaptive_weight_is_bounded_and_is_no_path_of_gradients():
    assert float(adaptive_weight(jnp.array([1e6]), jnp.array([0.0]))) == 1e4
    assert float(adaptive_weight(jnp.array([0.0]), jnp.array([0.0]))) == 0.0
    gradient = jax.grad(lambda x: adaptive_weight(x, 2 * x))(jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(gradient, np.zeros(2))
