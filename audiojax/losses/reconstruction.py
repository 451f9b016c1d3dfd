"""Masked reconstruction of spectrograms: the loss of AudioMAE ("Masked Autoencoders that Listen", arXiv 2207.06405, section 3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from audiojax.losses.diffusion import mean_squared_error


def cut_patches(mel: Float[Array, "b frames mels"], patch: int) -> Float[Array, "b n p"]:
    """Square patches, time-major, each flattened row by row; both sides of the spectrogram are multiples of `patch`."""
    b, frames, mels = mel.shape
    x = mel.reshape(b, frames // patch, patch, mels // patch, patch)
    return jnp.swapaxes(x, 2, 3).reshape(b, -1, patch * patch)


def normalise_patches(patches: Float[Array, "b n p"], eps: float = 1e-6) -> Float[Array, "b n p"]:
    """Each patch with its own mean taken off, over the root of its unbiased variance plus eps; float32."""
    x = patches.astype(jnp.float32)
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred / jnp.sqrt(jnp.var(x, axis=-1, keepdims=True, ddof=1) + eps)


def masked_patch_loss(
    prediction: Float[Array, "b n p"], mel: Float[Array, "b frames mels"], kept: Int[Array, "b k"], *, patch: int
) -> Float[Array, "b"]:
    """Mean squared error over the patches that the encoder did not see, against normalised patches; one value per clip.

    Args:
      prediction: what the decoder says of every patch.
      mel: the spectrogram that the patches were cut from.
      kept: patches that the encoder saw; they do not count.
      patch: side of a patch.
    """
    hidden = jnp.broadcast_to(hidden_patches(kept, prediction.shape[1])[:, :, None], prediction.shape)
    return mean_squared_error(prediction, normalise_patches(cut_patches(mel, patch)), hidden)


def hidden_patches(kept: Int[Array, "b k"], n: int) -> Bool[Array, "b n"]:
    """True where one of n patches is not among `kept`."""
    return jax.vmap(lambda index: jnp.ones(n, bool).at[index].set(False))(kept)


def draw_kept(keys: Shaped[Array, "b"], n: int, masked: float = 0.8) -> Int[Array, "b k"]:
    """For each key the sorted indices of int(n * (1 - masked)) of n patches, drawn without regard to time and frequency."""
    count = int(round(n * (1 - masked), 6))  # 10 * (1 - 0.8) is just below 2
    return jax.vmap(lambda key: jnp.sort(jax.random.permutation(key, n)[:count]))(keys)
