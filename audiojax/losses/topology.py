"""The topology loss of Diffusion-Link: generated vectors keep the cosines that the originals have among each other (arXiv 2510.11330)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from audiojax.collectives import gather_batch, row_offset

EPS = 1e-12  # the least squared length that a vector is divided by


def topology_loss(generated: Float[Array, "b d"], original: Float[Array, "b d"], *, axis_name: str | None = None) -> Float[Array, ""]:
    """mean over pairs i != j of (cos(generated_i, generated_j) - cos(original_i, original_j))^2, float32; 0 for a batch of one.

    The pairs are those of the local rows with all rows of the global batch, so that the mean over devices is that of all pairs. A common
    rotation of one side and the length of any vector change nothing; a vector of zeros has cosine 0 with all others.
    """
    generated, original = _unit(generated), _unit(original)
    difference = generated @ gather_batch(generated, axis_name).T - original @ gather_batch(original, axis_name).T  # [b, all]
    rows, columns = difference.shape
    itself = row_offset(rows, axis_name) + jnp.arange(rows, dtype=jnp.int32)
    others = jnp.arange(columns, dtype=jnp.int32)[None] != itself[:, None]
    return jnp.sum(jnp.square(jnp.where(others, difference, 0.0))) / max(rows * (columns - 1), 1)


def _unit(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Rows at length 1; the square is bounded, not its root, whose gradient at zero would not be finite."""
    x = x.astype(jnp.float32)
    return x / jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), EPS))
