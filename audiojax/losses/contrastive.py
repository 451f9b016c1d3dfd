"""NT-Xent on similarity matrices whose rows are local and whose columns may be gathered from all devices."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from audiojax.errors import UsageError


def same_clip_mask(row_clip: Int[Array, "b"], column_clip: Int[Array, "n"], target_offset: int | Int[Array, ""] = 0) -> Bool[Array, "b n"]:
    """True where a column is another caption of the row's own clip: neither the match (column row + target_offset) nor a negative."""
    same = row_clip[:, None] == column_clip[None, :]
    return jnp.logical_and(same, jnp.logical_not(_matches(row_clip.shape[0], column_clip.shape[0], target_offset)))


def nt_xent(
    similarity: Float[Array, "b n"],
    *,
    target_offset: int | Int[Array, ""] = 0,
    temperature: float = 0.07,
    ignore: Bool[Array, "b n"] | None = None,
) -> Float[Array, "b"]:
    """One direction of NT-Xent, a float32 value per row: -log softmax_j(S_ij / tau) at j = i + target_offset.

    tau = 0.07 is fixed in the baseline of DiffATR (ASE code of Mei et al. 2022).

    Args:
      similarity: cosine of each local row with each (gathered) column.
      target_offset: column of row 0's match: device index x local batch after a tiled gather.
      ignore: True takes a column out of the row's softmax (`same_clip_mask`); the ASE code leaves it in.
    """
    if similarity.shape[0] > similarity.shape[1]:
        raise UsageError(f"similarity has more rows than columns, {similarity.shape}: gather the columns, not the rows")
    logits = similarity.astype(jnp.float32) / temperature
    match = _matches(*similarity.shape, target_offset)
    if ignore is not None:
        logits = jnp.where(jnp.logical_and(ignore, jnp.logical_not(match)), -jnp.inf, logits)
    picked = jnp.sum(jnp.where(match, logits, 0.0), axis=1)
    return jax.nn.logsumexp(logits, axis=1) - picked


def symmetric_nt_xent(
    first_to_second: Float[Array, "b n"],
    second_to_first: Float[Array, "b n"],
    *,
    target_offset: int | Int[Array, ""] = 0,
    temperature: float = 0.07,
    ignore: Bool[Array, "b n"] | None = None,
) -> Float[Array, "b"]:
    """Symmetric NT-Xent per pair: half the sum of both directions, L_C of DiffATR before the mean over the batch.

    Each matrix has the local items of one side in its rows and all items of the other side in its columns; on one device the second is the
    transpose of the first. With pmean of the gradients afterwards, the loss is that of the global batch.
    """
    options = {"target_offset": target_offset, "temperature": temperature, "ignore": ignore}
    return 0.5 * (nt_xent(first_to_second, **options) + nt_xent(second_to_first, **options))


def _matches(rows: int, columns: int, target_offset: int | Int[Array, ""]) -> Bool[Array, "b n"]:
    return jax.nn.one_hot(jnp.arange(rows) + target_offset, columns, dtype=jnp.bool_)
