"""Position and noise-level tables that several networks share."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def sinusoidal_table(max_len: int, width: int) -> Float[np.ndarray, "l d"]:
    """Fixed sinusoids: table[p, 2i] = sin(p / 10000^(2i / width)), table[p, 2i + 1] = cos of the same angle.

    A NumPy constant in float32 (angles in float64), so that tracing it costs nothing and it lands in the compiled program once.

    Args:
      max_len: number of positions, from 0.
      width: columns; an odd width ends on a sine.
    """
    position = np.arange(max_len, dtype=np.float64)[:, None]
    frequency = 10_000.0 ** (-np.arange(0, width, 2, dtype=np.float64) / width)  # [ceil(width / 2)]
    angle = position * frequency[None, :]
    table = np.zeros((max_len, width), np.float32)
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle[:, : width // 2])
    return table


def timestep_sinusoid(timesteps: Int[Array, "*b"], width: int) -> Float[Array, "*b width"]:
    """[cos, sin] of timestep / 10000^(2i / width) for i = 0 .. width / 2 - 1, in float32: how image diffusion tells its network the time.

    Args:
      width: an even number.
    """
    frequency = np.exp(-math.log(10_000) * np.arange(width // 2) / (width // 2)).astype(np.float32)
    timesteps = jnp.asarray(timesteps, jnp.float32)[..., None]
    angle = timesteps * jnp.expand_dims(frequency, range(timesteps.ndim - 1))
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def relative_buckets(length: int, buckets: int = 32, max_distance: int = 128, *, causal: bool = False) -> Int[np.ndarray, "query key"]:
    """Bucket of every key position as each query sees it: T5's relative positions (arXiv 1910.10683, section 2.1).

    Half of the buckets are for keys at or before the query, half for keys after it. In each half, distances below half of its buckets
    have a bucket of their own and larger ones share buckets that grow as their logarithm, up to `max_distance`; the last takes the rest.
    A decoder is `causal`: all buckets are for keys at or before the query, and keys after it, which it must not see, have bucket 0.
    A NumPy constant: it depends on the static length alone.
    """
    half = buckets if causal else buckets // 2
    exact = half // 2
    distance = np.arange(length)
    octaves = np.log(np.maximum(distance, exact) / exact) / math.log(max_distance / exact)  # 0 at `exact`, 1 at `max_distance`
    # The small number keeps an octave that float64 puts just below a whole bucket from falling into the one before.
    shared = exact + np.floor(octaves * (half - exact) + 1e-9).astype(np.int32)
    bucket = np.where(distance < exact, distance, np.minimum(shared, half - 1)).astype(np.int32)  # [distance]
    offset = np.arange(length)[None, :] - np.arange(length)[:, None]  # key - query
    if causal:
        return bucket[np.maximum(-offset, 0)]
    return bucket[np.abs(offset)] + np.where(offset > 0, half, 0).astype(np.int32)
