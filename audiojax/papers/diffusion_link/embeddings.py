"""Embeddings of the frozen CLAP, and the space in which the diffusion runs: z = kappa (e - mean) / spread.

Without centring mean = 0 and spread = 1. With it, mean and spread (the root mean square of the distance from the mean) are those of sounds
or of texts in the training data, so that a vector of either has length kappa on average, and the way back is exact.
"""

from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from audiojax.encoders.clap import unit
from audiojax.papers.diffusion_link.settings import Settings
from audiojax.towers.clap import text_features, window_features
from audiojax.typing import Batch, Params

Side = Literal["audio", "text"]


def audio_embeddings(settings: Settings, params: Params, model_state: Any, batch: Batch) -> Float[Array, "b d"]:
    """Unit vectors of clips, float32: "audio_embedding" [b, d] of the batch, or of its "waveform" [b, w, s] with "windows" [b, w].

    A clip of several windows has the mean of their unit vectors, at length 1.
    """
    if "audio_embedding" in batch:
        return unit(batch["audio_embedding"])
    clips, count, samples = batch["waveform"].shape
    waveforms = batch["waveform"].reshape(clips * count, samples)
    vectors = window_features(settings.clap, settings.front_end.mel, _variables(params, model_state), waveforms).reshape(clips, count, -1)
    return unit(jnp.sum(jnp.where(batch["windows"][..., None], vectors, 0.0), axis=1))


def text_embeddings(settings: Settings, params: Params, model_state: Any, batch: Batch) -> Float[Array, "*b d"]:
    """Unit vectors of captions, float32: "text_embedding" [*b, d] of the batch, or of its "text_ids" and "text_mask" [*b, l]."""
    if "text_embedding" in batch:
        found = batch["text_embedding"]
    else:
        ids, mask = batch["text_ids"], batch["text_mask"]
        flat = (x.reshape(-1, x.shape[-1]) for x in (ids, mask))
        found = text_features(settings.clap, _variables(params, model_state), *flat).reshape(*ids.shape[:-1], -1)
    return unit(found)


def to_space(settings: Settings, model_state: Any, embeddings: Float[Array, "b d"], side: Side) -> Float[Array, "b d"]:
    """z_0 of embeddings of any length."""
    embeddings = unit(embeddings)
    if settings.bridge.centre == "per_modality":
        mean, spread = _centre(model_state, side)
        embeddings = (embeddings - mean) / spread
    return settings.kappa * embeddings


def from_space(settings: Settings, model_state: Any, z: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Unit vectors of texts: the way back of `to_space`."""
    embeddings = z / settings.kappa
    if settings.bridge.centre == "per_modality":
        mean, spread = _centre(model_state, "text")
        embeddings = embeddings * spread + mean
    return unit(embeddings)


def _centre(model_state: Any, side: Side) -> tuple[Float[Array, "1 d"], Float[Array, ""]]:
    measured = model_state["bridge"]
    return measured[f"{side}_mean"][None], measured[f"{side}_spread"]


def _variables(params: Params, model_state: Any) -> dict[str, Any]:
    return {"params": params["towers"], "batch_stats": model_state["batch_stats"]["towers"]}
