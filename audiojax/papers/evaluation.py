"""The random numbers of an evaluation: the same in every run, of every clip its own."""

import jax
from jaxtyping import Array, Int, Shaped

SEED = 0


def evaluation_keys(clip_index: Int[Array, "b"]) -> Shaped[Array, "b"]:
    """One key a clip, from its number in the split alone."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(SEED), clip_index)
