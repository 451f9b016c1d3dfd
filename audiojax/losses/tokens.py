"""Cross entropy of tokens that some positions are asked for, and of a batch that is spread over devices."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from audiojax.collectives import pmean


def token_cross_entropy(logits: Float[Array, "b k v"], targets: Int[Array, "b k"], smoothing: float = 0.0) -> Float[Array, "b k"]:
    """-log softmax(logits)_target of every position, float32.

    With label smoothing the target has the probability 1 - s, and s is spread evenly over all tokens (arXiv 1512.00567, section 7).
    """
    logits = logits.astype(jnp.float32)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if smoothing:
        picked = (1 - smoothing) * picked + smoothing * jnp.mean(logits, axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - picked


def token_mean(values: Shaped[Array, "b k"], counted: Bool[Array, "b k"], axis_name: str | None = None) -> Float[Array, ""]:
    """The mean over the counted positions of the whole batch, once the devices' values are averaged.

    Devices may hold different numbers of them, so each divides its own sum by the mean number.
    """
    count = pmean(jnp.sum(counted, dtype=jnp.float32), axis_name)
    return jnp.sum(jnp.where(counted, values.astype(jnp.float32), 0.0)) / jnp.maximum(count, 1.0)
