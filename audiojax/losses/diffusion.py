"""Denoising losses, unreduced: one float32 value per example, so that the caller decides how to average and weight."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from audiojax.errors import UsageError
from audiojax.schedule import Prediction, Schedule

Weighting = Literal["uniform", "snr", "min_snr"]


def mean_squared_error(
    prediction: Float[Array, "b *d"], target: Float[Array, "b *d"], mask: Bool[Array, "b *d"] | None = None
) -> Float[Array, "b"]:
    """mean over all non-batch axes of (prediction - target)^2; with a mask, over its True entries (0 where a row has none).

    The mask has the full shape of the target; broadcast it explicitly.
    """
    error = (prediction.astype(jnp.float32) - target.astype(jnp.float32)).reshape(target.shape[0], -1)
    if mask is None:
        return jnp.mean(jnp.square(error), axis=1)
    kept = mask.reshape(target.shape[0], -1)
    count = jnp.sum(kept, axis=1).astype(jnp.float32)
    return jnp.sum(jnp.square(jnp.where(kept, error, 0.0)), axis=1) / jnp.maximum(count, 1.0)


def denoising_loss(
    schedule: Schedule,
    output: Float[Array, "b *d"],
    x0: Float[Array, "b *d"],
    eps: Float[Array, "b *d"],
    t: Int[Array, "b"],
    *,
    prediction: Prediction = "eps",
    weighting: Weighting = "uniform",
    gamma: float = 5.0,
    mask: Bool[Array, "b *d"] | None = None,
) -> Float[Array, "b"]:
    """w_t mean (output - target)^2, the target being x_0, eps or v = a eps - s x_0 by `prediction`.

    Args:
      output: what the network returned for x_t = q_sample(x0, t, eps).
      weighting: "uniform" w = 1; "snr" makes the error on any target equal the error on eps (w = snr for x0, 1 for eps,
        snr / (snr + 1) for v); "min_snr" is min-SNR-gamma (arXiv 2303.09556).
      mask: True entries count.
    """
    loss = mean_squared_error(output, schedule.training_target(x0, eps, t, prediction), mask)
    if weighting == "uniform":
        return loss
    if weighting == "min_snr":
        return schedule.min_snr_weight(t, prediction, gamma) * loss
    if weighting != "snr":
        raise UsageError(f"unknown weighting {weighting!r}: use uniform, snr or min_snr")
    snr = schedule.snr(t)
    return {"x0": snr, "eps": jnp.ones_like(snr), "v": snr / (snr + 1.0)}[prediction] * loss


def kl_generation_loss(
    scores: Float[Array, "b n"], target: Int[Array, "b"], *, logit_scale: float = 100.0, mask: Bool[Array, "b n"] | None = None
) -> Float[Array, "b"]:
    """DiffATR's generation loss KL(x_0 || softmax(s p)) for one-hot x_0, which is the cross entropy -log softmax(s p)_match.

    The direction and s = 100 are DiffusionRet's (d_temp = 100); KL is named in the paper's abstract (arXiv 2409.10025).

    Args:
      scores: p [b, n], the predicted x_0.
      target: column of the match.
      logit_scale: s.
      mask: False drops a candidate from the softmax; the match itself always stays.
    """
    logits = logit_scale * scores.astype(jnp.float32)
    match = jax.nn.one_hot(target, scores.shape[1], dtype=jnp.bool_)
    if mask is not None:
        logits = jnp.where(jnp.logical_or(mask, match), logits, -jnp.inf)
    picked = jnp.take_along_axis(logits, target[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - picked
