"""Samplers as one `lax.scan` each: DDPM, DDIM, DPM-Solver++(2M) and re-noise, on the shared schedule.

A sampler takes the network as a function, the start x at the noise level grid[0], and the grid (`schedule.timestep_grid`), which says at
which timesteps the network is called and where the path ends. What the network predicts (eps, x0 or v) is an argument; every algorithm
works on x0_hat, after the clip hook. Row i of the result depends on row i of x and on key i alone, so batches may be laid out in any way.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from audiojax.errors import UsageError
from audiojax.schedule import Prediction, Schedule, check_prediction

Model = Callable[..., Float[Array, "b *d"]]  # (x [b, *d], t int32 [b]) -> prediction; then x0_hat and per_step values, if asked for
Clip = Callable[[Float[Array, "b *d"]], Float[Array, "b *d"]]
Keys = Key[Array, "b"]


def step_noise(keys: Keys, step: int | Array, shape: tuple[int, ...]) -> Float[Array, "b *d"]:
    """Standard normal rows of `shape`, row i from fold_in(keys[i], step)."""
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, step), shape, jnp.float32))(keys)


def initial_noise(keys: Keys, shape: tuple[int, ...]) -> Float[Array, "b *d"]:
    """Pure noise to start from, one row of `shape` per key; the samplers use other draws of the same keys."""
    return step_noise(keys, 0, shape)


def noised_start(schedule: Schedule, x0: Float[Array, "b *d"], keys: Keys, grid: Int[np.ndarray, "n+1"]) -> Float[Array, "b *d"]:
    """x0 noised to the first level of the grid: the start of a path that begins at s* < T (Diffusion-Link, SDEdit)."""
    return schedule.q_sample(x0, int(grid[0]), initial_noise(keys, x0.shape[1:]).astype(x0.dtype))


def sample_ddim(
    model: Model,
    schedule: Schedule,
    x: Float[Array, "b *d"],
    grid: Int[np.ndarray, "n+1"],
    *,
    eta: float = 0.0,
    keys: Keys | None = None,
    prediction: Prediction = "x0",
    clip: Clip | None = None,
    per_step: Any = None,
    self_condition: bool = False,
) -> Float[Array, "b *d"]:
    """Runs DDIM along the grid (Song et al. 2021, Eq. 12) and returns x at grid[-1].

    eps_hat is recomputed from the clipped x0_hat (diffusers: use_clipped_model_output), as DiffusionRet's code does.

    Args:
      model: (x, t) -> prediction; further arguments as asked for below, x0_hat before the values of `per_step`.
      x: the start, at noise level grid[0].
      eta: 0 is deterministic; 1 adds the noise of the DDPM posterior.
      keys: one a row; needed where eta > 0.
      prediction: what the model returns: "eps", "x0" or "v".
      clip: applied to x0_hat before it is used.
      per_step: pytree of arrays with a leading axis n, scanned along with the steps (time embeddings made once for all steps, ...).
      self_condition: the model takes the x0_hat of the step before as third argument, zeros at first (arXiv 2208.04202).
    """

    def step(x, x0, t, t_prev, noise, memory):
        return schedule.ddim_step(x, x0, t, t_prev, eta, noise() if eta else None), memory

    return _scan(model, schedule, x, grid, step, prediction, clip, per_step, self_condition, keys, stochastic=eta != 0.0)


def sample_ddpm(
    model: Model,
    schedule: Schedule,
    x: Float[Array, "b *d"],
    grid: Int[np.ndarray, "n+1"],
    *,
    keys: Keys,
    variance: str = "small",
    prediction: Prediction = "x0",
    clip: Clip | None = None,
    per_step: Any = None,
    self_condition: bool = False,
) -> Float[Array, "b *d"]:
    """Runs ancestral sampling along the grid (Ho et al. 2020, Alg. 2); skipped steps use the posterior between the two levels.

    `variance` is "small" (the posterior's) or "large" (beta); the rest as in `sample_ddim`.
    """

    def step(x, x0, t, t_prev, noise, memory):
        return schedule.ddpm_step(x, x0, t, t_prev, noise(), variance), memory

    return _scan(model, schedule, x, grid, step, prediction, clip, per_step, self_condition, keys, stochastic=True)


def sample_renoise(
    model: Model,
    schedule: Schedule,
    x: Float[Array, "b *d"],
    grid: Int[np.ndarray, "n+1"],
    *,
    keys: Keys,
    prediction: Prediction = "x0",
    clip: Clip | None = None,
    per_step: Any = None,
    self_condition: bool = False,
) -> Float[Array, "b *d"]:
    """Predicts x0_hat and noises it afresh to the next level, again and again (LaDiC code); the last x0_hat where grid[-1] = -1."""

    def step(x, x0, t, t_prev, noise, memory):
        return schedule.renoise_step(x0, t_prev, noise()), memory

    return _scan(model, schedule, x, grid, step, prediction, clip, per_step, self_condition, keys, stochastic=True)


def sample_dpmpp_2m(
    model: Model,
    schedule: Schedule,
    x: Float[Array, "b *d"],
    grid: Int[np.ndarray, "n+1"],
    *,
    lower_order_final: bool = True,
    prediction: Prediction = "x0",
    clip: Clip | None = None,
    per_step: Any = None,
    self_condition: bool = False,
) -> Float[Array, "b *d"]:
    """Runs DPM-Solver++(2M) along the grid (Lu et al. 2022, arXiv 2211.01095): deterministic, second order, midpoint form.

    The first step is of first order, and so is the last one where `lower_order_final` is set or the grid ends at -1 (diffusers does the
    former below 15 steps and the latter with final sigmas "zero").
    """
    count = len(grid) - 1

    def step(x, x0, t, t_prev, noise, memory):
        i, x0_before, t_before = memory
        first_order = jnp.logical_or(i == 0, jnp.logical_and(lower_order_final, i == count - 1))
        return schedule.dpmpp_2m_step(x, x0, x0_before, t, t_prev, t_before, first_order), (i + 1, x0, t)

    memory = (jnp.int32(0), jnp.zeros_like(x), jnp.int32(grid[0]))
    return _scan(model, schedule, x, grid, step, prediction, clip, per_step, self_condition, None, stochastic=False, memory=memory)


def guidance(conditional: Float[Array, "b *d"], null: Float[Array, "b *d"], weight: float) -> Float[Array, "b *d"]:
    """Classifier-free guidance null + w (cond - null): w = 1 is the conditional output (Ho & Salimans 2022, whose w is this w - 1)."""
    return null + weight * (conditional - null)


def guided(model: Model, condition: Any, null_condition: Any, weight: float) -> Model:
    """A sampler's model that calls `model(x, t, condition, *per_step)` once on a doubled batch, conditional rows first, and guides.

    Args:
      condition, null_condition: pytrees of equal structure, arrays with a leading batch axis.
      weight: w of `guidance`.
    """
    both = jax.tree.map(lambda cond, null: jnp.concatenate([cond, null]), condition, null_condition)

    def guided_model(x, t, *per_step):
        outputs = model(jnp.concatenate([x, x]), jnp.concatenate([t, t]), both, *per_step)
        return guidance(*jnp.split(outputs, 2), weight)

    return guided_model


def _scan(model, schedule, x, grid, step, prediction, clip, per_step, self_condition, keys, *, stochastic, memory=()):
    """Walks the grid: predict, convert to x0_hat, clip, step. `step(x, x0, t, t_prev, noise, memory) -> (x, memory)`."""
    check_prediction(prediction)
    _check_grid(schedule, grid)
    if stochastic and (keys is None or keys.shape != x.shape[:1]):
        raise UsageError(f"a stochastic sampler needs one key a row: {x.shape[0]} keys, got {None if keys is None else keys.shape}")
    count = len(grid) - 1
    for leaf in jax.tree.leaves(per_step):
        if leaf.shape[0] != count:
            raise UsageError(f"per_step values must have a leading axis of {count} steps, got shape {leaf.shape}")
    grid = jnp.asarray(grid, jnp.int32)

    def body(carry, now):
        x, before, memory = carry
        i, t, t_prev, values = now
        output = model(x, jnp.full(x.shape[:1], t, jnp.int32), *before, *(() if values is None else (values,)))
        x0 = schedule.convert(output.astype(x.dtype), x, t, prediction, "x0")
        x0 = x0 if clip is None else clip(x0)
        x, memory = step(x, x0, t, t_prev, lambda: step_noise(keys, i + 1, x.shape[1:]).astype(x.dtype), memory)
        return (x, (x0,) if self_condition else (), memory), None

    steps = (jnp.arange(count, dtype=jnp.int32), grid[:-1], grid[1:], per_step)
    before = (jnp.zeros_like(x),) if self_condition else ()
    (x, *_), _ = jax.lax.scan(body, (x, before, memory), steps)
    return x


def _check_grid(schedule: Schedule, grid: Int[np.ndarray, "n+1"]) -> None:
    values = np.asarray(grid)
    if values.ndim != 1 or len(values) < 2 or np.any(np.diff(values) >= 0) or values[0] >= schedule.num_steps or values[-1] < -1:
        raise UsageError(f"a grid must descend inside {schedule.num_steps - 1}..-1 and hold at least 2 entries, got {values.tolist()}")
