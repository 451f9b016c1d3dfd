"""The only room that knows an axis name: what devices tell each other inside a pmapped step.

Every function is the identity (or the single-device answer) when `axis_name` is None, which is how the step runs under `jit` on a mesh:
there the compiler sees the whole batch and adds the communication itself.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from audiojax.typing import Key

Tree = TypeVar("Tree")


def pmean(tree: Tree, axis_name: str | None = None) -> Tree:
    """Mean over devices of every leaf of numbers with a point, exact for the global batch because shards are equally large; of counts,
    which are equal everywhere, the count itself."""

    def mean(x: Array) -> Array:
        return (jax.lax.pmean if jnp.issubdtype(x.dtype, jnp.inexact) else jax.lax.pmax)(x, axis_name)

    return tree if axis_name is None else jax.tree.map(mean, tree)


def gather_batch(tree: Tree, axis_name: str | None = None) -> Tree:
    """All rows of the global batch: leaves [b, ...] on each device become [devices * b, ...], in global row order.

    A loss built from gathered rows and followed by `pmean` of its gradients has exactly the gradient of the global batch: the transpose
    of the gather sums what every device asks of a row.
    """
    if axis_name is None:
        return tree
    return jax.tree.map(lambda x: jax.lax.all_gather(x, axis_name, tiled=True), tree)


def axis_index(axis_name: str | None = None) -> Int[Array, ""]:
    """Place of this device on the axis, int32 scalar; 0 without an axis."""
    return jnp.zeros((), jnp.int32) if axis_name is None else jax.lax.axis_index(axis_name)


def row_offset(rows: int, axis_name: str | None = None) -> Int[Array, ""]:
    """Global index of the first of this device's `rows` rows: where its diagonal sits among gathered columns."""
    return axis_index(axis_name) * jnp.asarray(rows, jnp.int32)


def example_keys(key: Key, n: int, axis_name: str | None = None) -> Shaped[Array, " n"]:
    """One typed key per local row, from the row's index in the global batch, so that noise does not depend on the layout."""
    rows = row_offset(n, axis_name) + jnp.arange(n, dtype=jnp.int32)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)


def local_key(key: Key, axis_name: str | None = None) -> Key:
    """A key of this device alone, for dropout; `key` itself without an axis."""
    return key if axis_name is None else jax.random.fold_in(key, axis_index(axis_name))
