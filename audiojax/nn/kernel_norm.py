"""Weight norm (arXiv 1602.07868) and spectral norm (arXiv 1802.05957) of kernels as functions of a tree of parameters.

The modules stay as they are: a training step makes their kernels from what it trains, and a finished model has the kernels alone.

    split = with_gains(params)           # {"direction": params, "gain": the length of every kernel}
    params = weight_normed(split)        # the same kernels; directions and gains are trained
"""

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audiojax.partition import flat_paths, from_paths
from audiojax.typing import Key, Params

NONE = r"$^"


def with_gains(params: Params, *, transposed: str = NONE, without: str = NONE) -> dict[str, Params]:
    """Directions and gains that give the kernels of `params`.

    A kernel [..., in, out] has a gain for every output channel, as in torch, whose first axis it is; that of a transposed convolution has
    one for every input channel, for the same reason.

    Args:
      transposed: regex on the paths of kernels of transposed convolutions.
      without: regex on the paths of kernels that have no weight norm.
    """
    gains = {}
    for path, leaf in flat_paths(params).items():
        if path.endswith("kernel") and not re.search(without, path):
            kept = leaf.ndim - (2 if re.search(transposed, path) else 1)
            axes = tuple(axis for axis in range(leaf.ndim) if axis != kept)
            gains[path] = jnp.sqrt(jnp.sum(jnp.square(leaf), axis=axes, keepdims=True))
    return {"direction": params, "gain": from_paths(gains)}


def weight_normed(split: Mapping[str, Params]) -> Params:
    """Parameters with w = g v / |v| in place of every direction v that has a gain g; |v| is over the axes along which g has size 1."""
    leaves, gains = flat_paths(split["direction"]), flat_paths(split["gain"])
    for path, gain in gains.items():
        direction = leaves[path]
        axes = tuple(axis for axis, size in enumerate(gain.shape) if size == 1)
        leaves[path] = gain * direction * jax.lax.rsqrt(jnp.sum(jnp.square(direction), axis=axes, keepdims=True))
    return from_paths(leaves)


def first_vectors(key: Key, params: Params) -> Params:
    """Random unit vectors [out] for the power iteration of `spectral_normed`, one for each kernel of `params`."""
    kernels = [(path, leaf) for path, leaf in flat_paths(params).items() if path.endswith("kernel")]
    return from_paths(
        {path: _unit(jax.random.normal(jax.random.fold_in(key, i), kernel.shape[-1:])) for i, (path, kernel) in enumerate(kernels)}
    )


def spectral_normed(params: Params, vectors: Params) -> tuple[Params, Params]:
    """(parameters with every kernel that has a vector divided by its largest singular value, the vectors of the next call).

    The kernel is a matrix W [out, all others]. One step of the power iteration, v = W^T u / |.|, u = W v / |.|, gives sigma = u^T W v; its
    gradient goes through W alone.
    """
    leaves, after = flat_paths(params), {}
    for path, u in flat_paths(vectors).items():
        kernel = leaves[path]
        matrix = kernel.reshape(-1, kernel.shape[-1])  # [all others, out]
        fixed = jax.lax.stop_gradient(matrix)
        v = _unit(fixed @ u)
        after[path] = _unit(v @ fixed)
        leaves[path] = kernel / (v @ matrix @ after[path])
    return from_paths(leaves), from_paths(after)


def _unit(x: Float[Array, " n"]) -> Float[Array, " n"]:
    return x / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(x))), 1e-12)
