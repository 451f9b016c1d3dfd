"""What all towers' tasks do with a batch before a network sees it, and how evaluation draws what training draws at random."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from audiojax.audio.augment import spec_augment
from audiojax.audio.spectral import MelConfig, log_mel
from audiojax.errors import UsageError
from audiojax.papers.evaluation import evaluation_keys


def check_rate(config: Mapping[str, Any], mel: MelConfig) -> None:
    """Raises UsageError unless the data have the sample rate that a front end takes."""
    if mel.sample_rate != config["data"]["sample_rate"]:
        name, rate = config["model"]["tower"], config["data"]["sample_rate"]
        raise UsageError(f"the tower '{name}' takes {mel.sample_rate} Hz, but data.sample_rate is {rate}")


def stripes_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Arguments of `spec_augment` from the config; {} where it is switched off."""
    stripes = dict(config["model"]["spec_augment"])
    return stripes if stripes["time_stripes"] + stripes["mel_stripes"] else {}


def hear(
    waveform: Float[Array, "b n"], mel: MelConfig, keys: Shaped[Array, "b"] | None = None, stripes: Mapping[str, int] | None = None
) -> Float[Array, "b frames mels"]:
    """The log-mel of clips; in training, with one key a clip, stripes of it at the clip's mean."""
    spectrogram = log_mel(waveform, mel)
    if keys is None or not stripes:
        return spectrogram
    mean = jnp.mean(spectrogram, axis=(1, 2), keepdims=True)
    return spec_augment(keys, spectrogram - mean, **stripes) + mean


def caption_keys(clip_index: Int[Array, "b"], captions: int) -> Shaped[Array, "n"]:
    """One key for each caption of each clip, n = b * captions."""
    numbers = jnp.arange(captions, dtype=jnp.int32)
    return jax.vmap(lambda key: jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers))(evaluation_keys(clip_index)).reshape(-1)
