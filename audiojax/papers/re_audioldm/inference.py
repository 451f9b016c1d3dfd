"""Latents of sounds from noise: a U-Net along a sampler's path, steered by conditions, with what is known of the latents kept.

All is a function of its arguments. The loop over the steps is one `lax.scan` in one program, whose memory does not grow with their number:
only keys and values of the contexts are computed before it.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Shaped

from audiojax.models.unet import Context, UNet
from audiojax.papers.re_audioldm.settings import Sampling
from audiojax.sampling import Clip, Model, guided, sample_ddim, sample_ddpm, sample_dpmpp_2m
from audiojax.schedule import Schedule
from audiojax.typing import Params


class Condition(NamedTuple):
    """What the U-Net is told of each sound.

    Attributes:
      labels: unit CLAP embeddings, or None for a U-Net without.
      contexts: (tokens, mask) for each width that the U-Net attends to: AudioMAE's, then T5's.
    """

    labels: Float[Array, "b k"] | None
    contexts: tuple[Context, ...] = ()


class Rows(NamedTuple):
    """All that differs from sound to sound; row i of the latents depends on row i of each alone.

    Attributes:
      noise: unit normal, what the path starts from.
      keys: of what is drawn on the way.
      condition: what is wanted.
      null: what is not, of the same shapes as `condition`; None = the condition alone decides.
      reference: scaled latents of another sound: what is kept of it, or what the path starts from where the strength is below 1.
      keep: latent frames at which the reference stays.
    """

    noise: Float[Array, "b t f c"]
    keys: Shaped[Array, "b"]
    condition: Condition
    null: Condition | None = None
    reference: Float[Array, "b t f c"] | None = None
    keep: Bool[Array, "b t"] | None = None


def steer(rows: Rows, guidance: float) -> Rows:
    """The rows without the condition that a weight of null + w (cond - null) takes out: null at w = 1, the other at w = 0."""
    if guidance == 1:
        return rows._replace(null=None)
    if guidance == 0 and rows.null is not None:
        return rows._replace(condition=rows.null, null=None)
    return rows


@partial(jax.jit, static_argnums=(0, 1, 2))
def sample_on(
    mesh: Mesh, unet: UNet, sampling: Sampling, params: Params, schedule: Schedule, rows: Rows, weight: Float[Array, ""]
) -> Float[Array, "b t f c"]:
    """`sample_latents` compiled, with the rows shared out over all devices of a mesh, each of which walks its own path."""
    shared, own = PartitionSpec(), PartitionSpec(mesh.axis_names)
    walk = partial(sample_latents, unet, sampling)
    return jax.shard_map(walk, mesh=mesh, in_specs=(shared, shared, own, shared), out_specs=own, check_vma=False)(
        params, schedule, rows, weight
    )


def sample_latents(
    unet: UNet, sampling: Sampling, params: Params, schedule: Schedule, rows: Rows, weight: Float[Array, ""] | float = 1.0
) -> Float[Array, "b t f c"]:
    """Scaled latents, in float32.

    Known frames are kept by putting them into every x0_hat: with a start of q_sample(reference, t, noise) there, x_t is q_sample of them at
    every later t too, and what is made around them is made to fit.

    Args:
      params: variables of the U-Net.
      weight: w of null + w (cond - null), where there is a null condition.
    """
    grid = sampling.grid()
    x, clip = start_of(schedule, sampling, int(grid[0]), rows)
    if len(grid) > 1:
        path = (network(unet, params, rows.condition, rows.null, weight), schedule, x, grid)
        shared = {"prediction": "eps", "clip": clip}
        if sampling.sampler == "ddim":
            x = sample_ddim(*path, eta=sampling.eta, keys=rows.keys, **shared)
        elif sampling.sampler == "ddpm":
            x = sample_ddpm(*path, keys=rows.keys, **shared)
        else:
            x = sample_dpmpp_2m(*path, **shared)
    return x if clip is None else clip(x)


def start_of(schedule: Schedule, sampling: Sampling, t: int, rows: Rows) -> tuple[Float[Array, "b t f c"], Clip | None]:
    """(x at the first level t, what puts the known frames into latents)."""
    if rows.reference is None:
        return rows.noise, None
    if not sampling.strength:
        return rows.reference, None
    noised = schedule.q_sample(rows.reference, t, rows.noise)
    if rows.keep is None:
        return (noised if sampling.strength < 1 else rows.noise), None
    keep = rows.keep[:, :, None, None]
    return jnp.where(keep, noised, noised if sampling.strength < 1 else rows.noise), lambda x: jnp.where(keep, rows.reference, x)


def network(unet: UNet, params: Params, condition: Condition, null: Condition | None, weight: Float[Array, ""] | float) -> Model:
    """(x, t) -> predicted noise, guided where there is a null condition."""
    apply = partial(unet.apply, params)

    def told(what: Condition) -> tuple:
        return what.labels, apply(what.contexts, method="context_features")

    def predict(x: Array, t: Array, given: tuple) -> Array:
        labels, memories = given
        return apply(x, apply(t, labels, method="time_features"), memories, train=False, method="denoise")

    if null is None:
        given = told(condition)
        return lambda x, t: predict(x, t, given)
    return guided(predict, told(condition), told(null), weight)
