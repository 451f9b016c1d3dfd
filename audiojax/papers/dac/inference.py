"""Captions from sounds: noise is denoised along a short path, and the last x0_hat decoded at all positions at once.

One compiled program holds the whole loop, with what the denoiser attends to projected once. It is compiled for a number of clips, of their
tokens and of positions; how long captions come out changes no cost. The autoregressive rival writes word by word in the same call.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from audiojax.models.decoding import Decoding
from audiojax.papers.dac.autoregressive import narrate
from audiojax.papers.dac.latent import token_logits
from audiojax.papers.dac.model import Sound
from audiojax.papers.dac.settings import Sampling, Settings
from audiojax.papers.written import Written, written_of
from audiojax.sampling import guidance, initial_noise, sample_ddim, sample_dpmpp_2m, sample_renoise
from audiojax.schedule import Prediction, Schedule, timestep_grid
from audiojax.typing import Batch, Params

Network = Callable[[Array, Array, Array], Array]  # (x_t [b, n, c], t [b], x0_prev [b, n, c]) -> prediction


def write(
    settings: Settings, params: Params, model_state: Any, batch: Batch, keys: Shaped[Array, "b"], options: Sampling | Decoding
) -> Written:
    """One caption for each key; caption i depends on its clip and on key i alone.

    Args:
      batch: "waveform" [r, w, s] with "windows" [r, w], or the stored tokens "audio_values" [r, m, k] with "audio_mask" [r, m].
      keys: one a caption, as many as there are clips or several times as many: caption i is of clip i // (b / r).
      options: of diffusion, or of the rival; static: another value compiles anew.
    """
    return _write(settings, params, model_state, hear(settings, params, batch), keys, options)


def hear(settings: Settings, params: Params, batch: Batch) -> Sound:
    """The tokens of clips, from the batch if it holds them."""
    if "audio_values" in batch:
        return Sound(batch["audio_values"], batch["audio_mask"])
    return _listen(settings, params["towers"], batch["waveform"], batch["windows"])


@partial(jax.jit, static_argnums=0)
def _listen(settings: Settings, towers: Params, waveform: Array, windows: Array) -> Sound:
    return settings.towers.apply({"params": towers}, waveform, windows, method="listen")


@partial(jax.jit, static_argnums=(0, 5))
def _write(settings: Settings, params: Params, model_state: Any, sound: Sound, keys: Array, options: Sampling | Decoding) -> Written:
    if isinstance(options, Decoding):
        return written_of(narrate(settings.rival, params["autoregressive"], sound, keys, options), settings.rival.end)
    _, _, length = settings.shape
    network = guided_network(settings, params, sound, options.guidance)
    shape = (length, settings.towers.text_config.width)
    x0 = sample_latents(settings.schedule, network, keys, shape, options, settings.prediction)
    probability = jax.nn.softmax(token_logits(settings, params, model_state, x0), axis=-1)
    return read(jnp.argmax(probability, axis=-1).astype(jnp.int32), jnp.max(probability, axis=-1), settings.filler)


def guided_network(settings: Settings, params: Params, sound: Sound, w: float) -> Network:
    """The denoiser with its sound, guided by (1 + w) cond - w uncond; uncond hears zeros."""
    apply = partial(settings.diffuser.apply, {"params": params["diffuser"]}, train=False)
    values, mask = sound
    if not w:
        memory = apply(values, mask, method="memory")
        return lambda x, t, x0_prev: apply(x, x0_prev, t, memory, mask)
    mask = jnp.concatenate([mask, mask])
    memory = apply(jnp.concatenate([values, jnp.zeros_like(values)]), mask, method="memory")

    def network(x: Array, t: Array, x0_prev: Array) -> Array:
        x, t, x0_prev = (jnp.concatenate([y, y]) for y in (x, t, x0_prev))
        return guidance(*jnp.split(apply(x, x0_prev, t, memory, mask), 2), 1.0 + w)

    return network


def sample_latents(
    schedule: Schedule,
    network: Network,
    keys: Shaped[Array, "b"],
    shape: tuple[int, int],
    options: Sampling,
    prediction: Prediction = "x0",
) -> Float[Array, "b n c"]:
    """The last x0_hat [b, *shape] of the path that the options name, from noise of the keys."""
    grid = timestep_grid(schedule.num_steps, options.steps, "strided")

    def later(x: Array, t: Array, x0_prev: Array) -> Array:
        return network(x, jnp.minimum(t + options.time_offset, schedule.num_steps - 1), x0_prev)

    shared = {"prediction": prediction, "self_condition": True}
    path = (later, schedule, initial_noise(keys, shape), grid)
    if options.sampler == "renoise":
        return sample_renoise(*path, keys=keys, **shared)
    if options.sampler == "ddim":
        return sample_ddim(*path, eta=options.eta, keys=keys, **shared)
    return sample_dpmpp_2m(*path, **shared)


def read(tokens: Int[Array, "b n"], probability: Float[Array, "b n"], filler: int) -> Written:
    """Which of the likeliest tokens make the caption, and how probable they are."""
    words = tokens != filler
    places = jnp.where(words, jnp.arange(tokens.shape[1], dtype=jnp.int32)[None], -1)
    last = jax.lax.cummax(jnp.pad(places, ((0, 0), (1, 0)), constant_values=-1)[:, :-1], axis=1)  # place of the word before, -1 = none
    repeated = (jnp.take_along_axis(tokens, jnp.maximum(last, 0), axis=1) == tokens) & (last >= 0)
    words = words & ~repeated
    return Written(tokens, words, _mean(probability, words))


def _mean(values: Float[Array, "b n"], counted: Bool[Array, "b n"]) -> Float[Array, "b"]:
    counted = counted | ~jnp.any(counted, axis=1, keepdims=True)
    return jnp.sum(jnp.where(counted, values, 0.0), axis=1) / jnp.sum(counted, axis=1).astype(jnp.float32)
