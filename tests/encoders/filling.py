"""Parameters and inputs drawn without jax, so that golden files, torch twins and our modules see the same numbers."""

import zlib

import jax
import numpy as np


def fill(tree, seed=0):
    """A tree of the same shapes in float32: every leaf non-zero, kernels scaled by fan-in, variances positive.

    A leaf's numbers depend on its path and `seed` alone, from NumPy's frozen legacy generator.
    """

    def leaf(path, value):
        name = "/".join(str(part.key) for part in path)
        draw = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32).standard_normal(value.shape)
        kind = name.rsplit("/", 1)[-1]
        if kind == "kernel":
            draw *= np.sqrt(2 / np.prod(value.shape[:-1]))
        elif kind == "var":
            draw = 0.4 + 0.6 * np.abs(draw)
        elif kind == "scale":
            draw = 1 + 0.2 * draw
        else:  # biases, means, embeddings
            draw *= 0.2
        return draw.astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, tree)


def filled_variables(module, *inputs, seed=0):
    """Variables of `module` as `fill` draws them; nothing is initialised on the device."""
    return fill(jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, train=False)), seed)


def mel_batch(clips, frames, mels=64, seed=0):
    """[clips, frames, mels] of slow structure in time and mel with noise on it.

    The range is that of the `fill`ed statistics of bn0, so that activations neither vanish nor explode, and each clip has a
    shape of its own: pure noise would pool to nearly one vector for all clips.
    """
    rng = np.random.RandomState(seed)
    time, mel = (np.cumsum(rng.standard_normal((clips, n)), axis=1) / np.sqrt(n) for n in (frames, mels))
    noise = rng.standard_normal((clips, frames, mels))
    return (2 * time[:, :, None] + 3 * mel[:, None, :] * (1 + time[:, :, None]) + noise).astype(np.float32)


def token_batch(rows, length, vocab_size, seed=0):
    """(ids, mask): row i ends in i padding positions."""
    ids = np.random.RandomState(seed).randint(0, vocab_size, (rows, length)).astype(np.int32)
    mask = np.arange(length)[None, :] < length - np.arange(rows)[:, None]
    return ids, mask


def relative_error(ours, reference):
    """Norm of the difference over the norm of the reference."""
    return float(np.linalg.norm(np.asarray(ours, np.float64) - reference) / np.linalg.norm(reference))
