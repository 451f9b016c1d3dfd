"""The loss of latent diffusion (arXiv 2301.12503 and 2309.08051):

  L = E_{z_0, eps, n} | eps - eps_theta(z_n, n, E_t, E_ra, E_rt) |^2      squares as means over the latents, n uniform over 0..999
  z_0 = s z,  z ~ the autoencoder's posterior,  s = 1 / std(z)            measured once on training data
  z_n = sqrt(abar_n) z_0 + sqrt(1 - abar_n) eps

With a probability of `drop` an example is trained without its conditions.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from audiojax.losses.diffusion import denoising_loss
from audiojax.models.vae import Moments
from audiojax.papers.re_audioldm.conditioning import condition_of, dropped, null_condition
from audiojax.papers.re_audioldm.diffusion_settings import DiffusionSettings
from audiojax.papers.re_audioldm.inference import Condition
from audiojax.papers.re_audioldm.settings import NOISE_LEVELS
from audiojax.typing import Batch, Params


class Draws(NamedTuple):
    """What is drawn for examples.

    Attributes:
      sample: unit normal, which latents of the posterior.
      eps: unit normal, the noise.
      t: noise levels, 0 to 999.
      drop: whether the conditions are dropped.
    """

    sample: Float[Array, "b t f c"]
    eps: Float[Array, "b t f c"]
    t: Int[Array, "b"]
    drop: Bool[Array, "b"]


def draws(settings: DiffusionSettings, keys: Shaped[Array, "b"]) -> Draws:
    """The draws of rows, each from its own key."""

    def one(key: Array) -> Draws:
        sample, eps, t, drop = jax.random.split(key, 4)
        shape = settings.latent_shape
        return Draws(
            jax.random.normal(sample, shape),
            jax.random.normal(eps, shape),
            jax.random.randint(t, (), 0, NOISE_LEVELS, jnp.int32),
            jax.random.bernoulli(drop, settings.options.drop),
        )

    return jax.vmap(one)(keys)


def moments_of(batch: Batch) -> Moments:
    """The stored posterior of the latents, in float32."""
    return Moments(*jnp.split(batch["audio_moments"].astype(jnp.float32), 2, axis=-1))


def training_loss(
    settings: DiffusionSettings, params: Params, model_state: Any, batch: Batch, keys: Shaped[Array, "b"]
) -> Float[Array, "b"]:
    """L of each example."""
    drawn = draws(settings, keys)
    z_0 = model_state["latent"]["scale"] * moments_of(batch).sample(drawn.sample)
    condition = condition_of(settings, model_state, batch)
    condition = dropped(condition, null_condition(settings, model_state, condition), drawn.drop)
    return noise_error(settings, params, z_0, condition, drawn.t, drawn.eps, weighting=settings.options.weighting, train=True)


def noise_error(
    settings: DiffusionSettings,
    params: Params,
    z_0: Float[Array, "b t f c"],
    condition: Condition,
    t: Int[Array, "b"],
    eps: Float[Array, "b t f c"],
    *,
    weighting: str,
    train: bool,
) -> Float[Array, "b"]:
    """The mean squared error of the predicted noise, weighted as `denoising_loss` says."""
    z_n = settings.schedule.q_sample(z_0, t, eps)
    output = settings.unet.apply({"params": params["unet"]}, z_n, t, condition.labels, condition.contexts, train=train)
    return denoising_loss(settings.schedule, output, z_0, eps, t, weighting=weighting)


def errors_at(settings: DiffusionSettings, params: Params, model_state: Any, batch: Batch, keys: Shaped[Array, "b"]) -> Float[Array, "b n"]:
    """The error of each example, with its conditions and the most probable latents, at each of the levels that validation looks at."""
    z_0 = model_state["latent"]["scale"] * moments_of(batch).mode()
    condition = condition_of(settings, model_state, batch)

    def at(t: Array) -> Array:
        level_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, t)
        eps = jax.vmap(lambda key: jax.random.normal(key, settings.latent_shape))(level_keys)
        levels = jnp.full(len(keys), t, jnp.int32)
        return noise_error(settings, params, z_0, condition, levels, eps, weighting="uniform", train=False)

    return jax.lax.map(at, jnp.asarray(settings.options.evaluated, jnp.int32)).T
