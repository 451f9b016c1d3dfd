"""What autoencoder and vocoder hear of a clip: its level, a random stretch of it, and AudioLDM's log-mel.

"haoheliu/AudioLDM-training-finetuning code", dataset.py: the mean is taken off and the peak brought to 0.5; here over the clip as the
batch has it, with the zeros after its end.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from audiojax.papers.re_audioldm.clips import PEAK


def levelled(waveform: Float[Array, "b n"]) -> Float[Array, "b n"]:
    """Every clip without its mean, at a peak of 0.5; silence stays silent."""
    x = waveform.astype(jnp.float32)
    x = x - jnp.mean(x, axis=1, keepdims=True)
    return x / (jnp.max(jnp.abs(x), axis=1, keepdims=True) + 1e-8) * PEAK


def random_stretch(keys: Shaped[Array, "b"], waveform: Float[Array, "b n"], samples: int) -> Float[Array, "b s"]:
    """So many samples of every clip from a place that its key draws; the whole clip where it is just as long."""
    if samples == waveform.shape[1]:
        return waveform

    def of_clip(key: Array, clip: Array) -> Array:
        start = jax.random.randint(key, (), 0, clip.shape[0] - samples + 1)
        return jax.lax.dynamic_slice_in_dim(clip, start, samples)

    return jax.vmap(of_clip)(keys, waveform)


def explained(error: Float[Array, "b"], blind: Float[Array, "b"]) -> float:
    """The share of the blind answer's error that a network is rid of: 1 = all of it, 0 = none."""
    return 1.0 - float(error.mean()) / max(float(blind.mean()), 1e-12)


def blind_error(mel: Float[Array, "b t m"]) -> Float[Array, " b"]:
    """Mean |log-mel - its mean over time| of every clip, in nepers: the error of an answer that knows the mean spectrum alone."""
    return jnp.mean(jnp.abs(mel - jnp.mean(mel, axis=1, keepdims=True)), axis=(1, 2))
