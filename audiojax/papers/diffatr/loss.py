"""The two training objectives of DiffATR (arXiv 2409.10025): NT-Xent for the encoders, KL generation loss for the denoisers.

What is diffused is the vector of match scores of one query against N candidates (section 2.2): x_0 is one-hot at the match,
and the denoiser predicts x_0 from x_k, the query and the candidates. Both losses come unreduced, one value a query.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from audiojax.losses.diffusion import kl_generation_loss
from audiojax.schedule import Schedule

Denoise = Callable[..., Float[Array, "b n"]]  # see `generation_loss`


def clean_scores(target: Int[Array, "b"], candidates: int, negative_value: float = 0.0) -> Float[Array, "b n"]:
    """x_0 [b, n]: 1 at the match and `negative_value` at every negative (0 in the DiffusionRet code, -1 as its option)."""
    return jnp.where(jax.nn.one_hot(target, candidates, dtype=bool), 1.0, jnp.float32(negative_value))


def generation_loss(
    denoise: Denoise,
    schedule: Schedule,
    keys: Key[Array, "b"],
    query: Float[Array, "b d"],
    candidates: Float[Array, "n d"],
    target: Int[Array, "b"],
    *,
    logit_scale: float = 100.0,
    negative_value: float = 0.0,
    valid: Bool[Array, "b n"] | None = None,
    noise_level: int | Int[Array, ""] | None = None,
) -> Float[Array, "b"]:
    """L_G of one direction, a value a query: E_k KL(x_0 || softmax(s f(x_k, k, q, c))), k uniform on 0..K-1 unless `noise_level` fixes it.

    Args:
      denoise: (x_k, k, query, candidates[, valid]) -> p, the prediction of x_0; all queries share their candidates.
      keys: one key a query; row i depends on key i alone.
      target: column of the match of each query.
      valid: False drops a candidate (another caption of the same clip) from the denoiser's attention and from the softmax.
    """
    batch, n = query.shape[0], candidates.shape[0]
    x_0 = clean_scores(target, n, negative_value)
    step_keys, noise_keys = jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, 2))(keys), 1, 0)
    if noise_level is None:
        k = jax.vmap(lambda key: jax.random.randint(key, (), 0, schedule.num_steps))(step_keys)
    else:
        k = jnp.full((batch,), noise_level, jnp.int32)
    eps = jax.vmap(lambda key: jax.random.normal(key, (n,), jnp.float32))(noise_keys)
    x_k = schedule.q_sample(x_0, k, eps)
    p = denoise(x_k, k, query, candidates) if valid is None else denoise(x_k, k, query, candidates, valid)
    return kl_generation_loss(p, target, logit_scale=logit_scale, mask=valid)
