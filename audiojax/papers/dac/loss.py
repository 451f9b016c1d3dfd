"""The losses of DAC: L = L_MSE + lambda_ce L_CE + lambda_v L_valid.

  L_MSE    mean over all elements of (x0_hat - x0)^2
  L_CE     cross entropy at all N positions of Head(Upper(sigma x0_hat + mu)), the filler standing where there is no word; its gradient
           goes through the frozen upper BERT into the diffuser
  L_valid  sum m (x0_hat - x0)^2 / sum m, m = 1 at words
With a network that predicts eps, the first and the last compare eps; x0_hat = (x_t - sqrt(1 - abar) eps_hat) / sqrt(abar) is decoded.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from audiojax.collectives import example_keys, local_key
from audiojax.losses.tokens import token_cross_entropy, token_mean
from audiojax.papers.dac.latent import Latents, caption_latents, token_logits
from audiojax.papers.dac.model import Sound
from audiojax.papers.dac.settings import Settings
from audiojax.schedule import Schedule
from audiojax.typing import Batch, Key, Params

TERMS = ("cross_entropy", "valid", "words_right")  # beside the first one, which is called after `loss.error`


class Noised(NamedTuple):
    """x_t = sqrt(abar_t) x0 + F sqrt(1 - abar_t) eps."""

    x_t: Array
    t: Array
    eps: Array


def noised(
    schedule: Schedule, keys: Shaped[Array, "b"], x0: Float[Array, "b n c"], *, dilation: float = 1.0, t: Int[Array, "b"] | None = None
) -> Noised:
    """Noise of every row's own key, at a level that is uniform over 0..T-1 unless `t` is given."""
    noise_keys, level_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    eps = jax.vmap(lambda key: jax.random.normal(key, x0.shape[1:], x0.dtype))(noise_keys)
    if t is None:
        t = jax.vmap(lambda key: jax.random.randint(key, (), 0, schedule.num_steps, jnp.int32))(level_keys)
    return Noised(schedule.q_sample(x0, t, dilation * eps), t, eps)


def position_error(output: Float[Array, "b n c"], target: Float[Array, "b n c"], error: str = "mse") -> Float[Array, "b n"]:
    """Of every position: the mean over channels of the squared error ("mse"), or the length of the error ("l2")."""
    squared = jnp.square(output.astype(jnp.float32) - target.astype(jnp.float32))
    if error == "mse":
        return jnp.mean(squared, axis=-1)
    return jnp.sqrt(jnp.maximum(jnp.sum(squared, axis=-1), 1e-12))  # a root of 0 has no gradient


def terms(
    settings: Settings,
    params: Params,
    model_state: Any,
    latents: Latents,
    noisy: Noised,
    output: Float[Array, "b n c"],
    axis_name: str | None = None,
) -> dict[str, Float[Array, ""]]:
    """The three terms for the output of the network, unweighted, and the share of words that are decoded right."""
    target = settings.schedule.training_target(latents.x0, noisy.eps, noisy.t, settings.prediction)
    x0_hat = settings.schedule.convert(output, noisy.x_t, noisy.t, settings.prediction, "x0")
    logits = token_logits(settings, params, model_state, x0_hat)
    right = jnp.argmax(logits, axis=-1) == latents.targets
    return {
        settings.loss.error: jnp.mean(position_error(output, target, settings.loss.error)),
        "cross_entropy": jnp.mean(token_cross_entropy(logits, latents.targets)),
        "valid": token_mean(position_error(output, target), latents.words, axis_name),
        "words_right": token_mean(right, latents.words, axis_name),
    }


def total(settings: Settings, found: dict[str, Float[Array, ""]]) -> Float[Array, ""]:
    """The weighted sum of the terms."""
    options = settings.loss
    return found[options.error] + options.cross_entropy * found["cross_entropy"] + options.valid * found["valid"]


def diffusion_loss(
    settings: Settings, sound: Sound, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """(L, terms) of a batch of (clip, caption) examples, means over the local rows.

    Of a row, noise, level and whether it hears are drawn with the row's own key; one coin of the whole batch decides on self-conditioning,
    so that half of the batches cost one pass of the network less.
    """
    options, schedule = settings.loss, settings.schedule
    row_key, coin_key, guess_key, dropout_key = jax.random.split(key, 4)
    latents = caption_latents(settings, params, model_state, batch["text_ids"], batch["text_mask"])
    draw_keys, hear_keys = jnp.moveaxis(jax.vmap(jax.random.split)(example_keys(row_key, len(latents.x0), axis_name)), 1, 0)
    noisy = noised(schedule, draw_keys, latents.x0, dilation=options.dilation)
    heard = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - options.drop_audio))(hear_keys)
    values = silenced(sound.values, heard)

    def network(x0_prev: Array, dropout: Key) -> Array:
        inputs = (noisy.x_t, x0_prev, noisy.t, values, sound.mask)
        rngs = {"dropout": local_key(dropout, axis_name)}
        return settings.diffuser.apply({"params": params["diffuser"]}, *inputs, train=True, rngs=rngs, method="hear_and_denoise")

    def guess() -> Array:
        output = network(jnp.zeros_like(noisy.x_t), guess_key)
        return jax.lax.stop_gradient(schedule.convert(output, noisy.x_t, noisy.t, settings.prediction, "x0"))

    coin = jax.random.bernoulli(coin_key, options.self_condition)
    x0_prev = jax.lax.cond(coin, guess, partial(jnp.zeros_like, noisy.x_t))
    found = terms(settings, params, model_state, latents, noisy, network(x0_prev, dropout_key), axis_name)
    return total(settings, found), found


def head_loss(
    settings: Settings, params: Params, model_state: Any, batch: Batch, *, axis_name: str | None = None
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """(cross entropy of clean latents, share of words that are decoded right): the head alone learns to read the upper BERT."""
    latents = caption_latents(settings, params, model_state, batch["text_ids"], batch["text_mask"])
    logits = token_logits(settings, params, model_state, latents.x0)
    right = jnp.argmax(logits, axis=-1) == latents.targets
    found = {"words_right": token_mean(right, latents.words, axis_name)}
    return jnp.mean(token_cross_entropy(logits, latents.targets)), found


def silenced(values: Float[Array, "b m k"], heard: Bool[Array, "b"]) -> Float[Array, "b m k"]:
    """Tokens of clips; zeros, before any projection, for the rows that do not hear."""
    return jnp.where(heard[:, None, None], values, jnp.zeros((), values.dtype))
