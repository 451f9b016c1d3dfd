"""From an embedding of a sound to one of a text: the diffusion of the paper, and its rivals behind the same call."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from audiojax.encoders.clap import unit
from audiojax.papers.diffusion_link.embeddings import Side, from_space, to_space
from audiojax.papers.diffusion_link.settings import TRAINED, Settings
from audiojax.sampling import noised_start, sample_ddim
from audiojax.typing import Params


def bridge_embeddings(
    settings: Settings,
    params: Params,
    model_state: Any,
    embeddings: Float[Array, "b d"],
    keys: Shaped[Array, "b"],
    side: Side = "audio",
) -> Float[Array, "b d"]:
    """Text-like unit vectors, float32; row i depends on embedding i and key i alone.

    Args:
      embeddings: of CLAP, of any length.
      keys: of the noise; nothing is drawn by a form without diffusion.
      side: whether these are embeddings of sounds or of texts. Texts go through a network as sounds do, and stay as they are in a form that
        has none.
    """
    form = settings.bridge.form
    embeddings = unit(embeddings)
    if form == "one_step":
        return from_space(settings, model_state, denoise_clean(settings, params, to_space(settings, model_state, embeddings, side)))
    if form in TRAINED:
        return _diffuse(settings, params, model_state, embeddings, keys, side)
    if form == "none" or side == "text":
        return embeddings
    measured = model_state["bridge"]
    if form == "mean_shift":
        return unit(embeddings + (measured["text_mean"] - measured["audio_mean"])[None])
    if form == "ridge":
        return unit(embeddings @ measured["weight"] + measured["bias"][None])
    memory = measured["memory"]  # [m, d]
    return unit(jax.nn.softmax(embeddings @ memory.T / settings.bridge.temperature, axis=-1) @ memory)


def denoise_clean(settings: Settings, params: Params, z: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """What the network makes of vectors without noise, told that the time is 0."""
    return settings.network.apply({"params": params["bridge"]}, z, jnp.zeros(len(z), jnp.int32))


def _diffuse(
    settings: Settings, params: Params, model_state: Any, embeddings: Float[Array, "b d"], keys: Shaped[Array, "b"], side: Side
) -> Float[Array, "b d"]:
    """Noise to depth s*, then DDIM down to clean; at s* = 0 nothing happens."""
    if not settings.bridge.start:
        return embeddings
    variables, grid = {"params": params["bridge"]}, settings.grid
    modulation = settings.network.apply(variables, jnp.asarray(grid[:-1]), method="modulation")
    per_step = jax.tree.map(lambda x: x[:, None], modulation)  # [n, 1, k]: one row for all vectors

    def network(x: Array, t: Array, now: Any) -> Array:
        return settings.network.apply(variables, x, now, method="denoise")

    start = noised_start(settings.schedule, to_space(settings, model_state, embeddings, side), keys, grid)
    return from_space(settings, model_state, sample_ddim(network, settings.schedule, start, grid, per_step=per_step))
