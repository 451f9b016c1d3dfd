"""The loss of the bridge: L = L_diff + w L_topo, both over the ways that lead to the text's z_0, from itself and from its sound's.

  L_diff  E_s [ w(s) (|f(z_s^t, s) - z_0^t|^2 + |f(z_s^a, s) - z_0^t|^2) ], squares as means over coordinates, s uniform over 0..T-1
  L_topo  the topology loss of f's outputs beside z_0^t, the mean over both ways
A pair has one s and two independent noises. The rival "text_only" has the first way alone; "one_step" has no noise and no s.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from audiojax.collectives import example_keys
from audiojax.losses.diffusion import denoising_loss, mean_squared_error
from audiojax.losses.topology import topology_loss
from audiojax.papers.diffusion_link.bridging import denoise_clean
from audiojax.papers.diffusion_link.embeddings import audio_embeddings, text_embeddings, to_space
from audiojax.papers.diffusion_link.settings import Settings
from audiojax.typing import Batch, Key, Params

WAYS = ("text", "audio")


def link_loss(
    settings: Settings, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """(L, its terms) of a batch of pairs, means over the local rows: "error/text" and "error/audio" with w(s), and "topology" without w."""
    text = to_space(settings, model_state, text_embeddings(settings, params, model_state, batch), "text")
    ways = [text]
    if settings.bridge.form != "text_only":
        ways.append(to_space(settings, model_state, audio_embeddings(settings, params, model_state, batch), "audio"))
    outputs, errors = predictions(settings, params, jnp.stack(ways), text, example_keys(key, len(text), axis_name))
    found = {f"error/{name}": jnp.mean(error) for name, error in zip(WAYS, errors, strict=False)}
    topology = sum(topology_loss(output, text, axis_name=axis_name) for output in outputs) / len(ways)
    return sum(found.values()) + settings.loss.topology * topology, {**found, "topology": topology}


def predictions(
    settings: Settings, params: Params, ways: Float[Array, "w b d"], text: Float[Array, "b d"], keys: Shaped[Array, "b"]
) -> tuple[Float[Array, "w b d"], Float[Array, "w b"]]:
    """(f of every way, its weighted error) at one noise level a row."""
    if settings.bridge.form == "one_step":
        outputs = jax.vmap(lambda z: denoise_clean(settings, params, z))(ways)
        return outputs, jax.vmap(mean_squared_error, in_axes=(0, None))(outputs, text)
    t, eps = draws(settings, keys, ways.shape)
    variables, schedule = {"params": params["bridge"]}, settings.schedule
    modulation = settings.network.apply(variables, t, method="modulation")

    def along(z: Array, noise: Array) -> tuple[Array, Array]:
        output = settings.network.apply(variables, schedule.q_sample(z, t, noise), modulation, method="denoise")
        return output, denoising_loss(schedule, output, text, noise, t, prediction="x0", weighting=settings.loss.time_weight)

    return jax.vmap(along)(ways, eps)


def draws(settings: Settings, keys: Shaped[Array, "b"], shape: tuple[int, int, int]) -> tuple[Int[Array, "b"], Float[Array, "w b d"]]:
    """(s, eps) of rows from their own keys, for ways of `shape`: one level a row, a noise for each way."""
    count, _, width = shape
    level_keys, noise_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    levels = jax.vmap(lambda key: jax.random.randint(key, (), 0, settings.schedule.num_steps, jnp.int32))(level_keys)
    return levels, jax.vmap(lambda key: jax.random.normal(key, (count, width)), out_axes=1)(noise_keys)
