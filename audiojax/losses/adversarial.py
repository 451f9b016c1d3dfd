"""Losses of generators and discriminators; each gives one value an example, the mean over its logits, in float32.

The hinge is that of Geometric GAN (arXiv 1705.02894), with VQGAN's adaptive weight (arXiv 2012.09841, Eq. 7); least squares and feature
matching are HiFi-GAN's (arXiv 2010.05646, Eq. 1 to 4). What belongs to the other side is to be under `stop_gradient` at the caller.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audiojax.typing import Params

EPSILON = 1e-4  # added to the norm that the adaptive weight divides by
MOST_WEIGHT = 1e4


def hinge_discriminator_loss(real: Float[Array, "b *n"], generated: Float[Array, "b *n"]) -> Float[Array, " b"]:
    """(max(0, 1 - D(x)) + max(0, 1 + D(x_hat))) / 2."""
    return 0.5 * (_mean(jax.nn.relu(1.0 - real.astype(jnp.float32))) + _mean(jax.nn.relu(1.0 + generated.astype(jnp.float32))))


def hinge_generator_loss(generated: Float[Array, "b *n"]) -> Float[Array, " b"]:
    """-D(x_hat)."""
    return -_mean(generated)


def least_squares_discriminator_loss(real: Float[Array, "b *n"], generated: Float[Array, "b *n"]) -> Float[Array, " b"]:
    """(D(x) - 1)^2 + D(x_hat)^2, Eq. 1 of arXiv 2010.05646."""
    return _mean(jnp.square(real.astype(jnp.float32) - 1.0)) + _mean(jnp.square(generated.astype(jnp.float32)))


def least_squares_generator_loss(generated: Float[Array, "b *n"]) -> Float[Array, " b"]:
    """(D(x_hat) - 1)^2, Eq. 2 of arXiv 2010.05646."""
    return _mean(jnp.square(generated.astype(jnp.float32) - 1.0))


def feature_matching_loss(real: Sequence[Float[Array, "b ..."]], generated: Sequence[Float[Array, "b ..."]]) -> Float[Array, " b"]:
    """sum over layers of mean |D_i(x) - D_i(x_hat)|, Eq. 4 of arXiv 2010.05646; `real` and `generated` are features layer by layer."""
    pairs = zip(real, generated, strict=True)
    return sum(_mean(jnp.abs(x.astype(jnp.float32) - y.astype(jnp.float32))) for x, y in pairs)


def adaptive_weight(reconstruction: Params, adversarial: Params) -> Float[Array, ""]:
    """|g_reconstruction| / (|g_adversarial| + 1e-4), at most 10,000, under `stop_gradient` (Eq. 7 of arXiv 2012.09841).

    Args:
      reconstruction, adversarial: gradients of the two losses at the same parameters, those of the decoder's last layer.
    """
    norm = partial(jax.tree.reduce, lambda total, x: total + jnp.sum(jnp.square(x.astype(jnp.float32))), initializer=jnp.float32(0.0))
    ratio = jnp.sqrt(norm(reconstruction)) / (jnp.sqrt(norm(adversarial)) + EPSILON)
    return jax.lax.stop_gradient(jnp.minimum(ratio, MOST_WEIGHT))


def _mean(x: Float[Array, "b ..."]) -> Float[Array, " b"]:
    return jnp.mean(x.astype(jnp.float32).reshape(x.shape[0], -1), axis=1)
