"""DiffATR's attention denoiser (arXiv 2409.10025, section 2.2.1): scores of one query against N candidates, denoised together.

`PairDenoiser` is the network as the paper and its parent (DiffusionRet code) write it. Both directions use it: the query is a text and the
candidates are audios, or the other way round, with parameters of their own.

`prepare_candidates`, `prepare_queries` and `denoise_prepared` are the same function for sampling, with all that does not depend on x
taken out of the loop. Exact algebra, for c_n a candidate, q the query, e_k the noise-level embedding, w the attention (it sums to 1):

  <Wq (q + e_k), Wk (c_n + e_k)> = <q + e_k, M c_n> + const(k),  M = Wq^T Wk; the constant vanishes in the softmax
  W1 [o; c_n] = sum_m w_m (A c_m) + A e_k + W1a bo + W1b c_n,    A = W1a Wo Wv, W1 = [W1a, W1b]

so M c_n, <e_k, M c_n>, A c_n and W1b c_n are computed once per candidate of a gallery, and a step inside the loop is a softmax, one
weighted sum and the ReLU with the last linear map: about 10 N D operations a query and step instead of 24 N D^2.
"""

from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from audiojax.errors import UsageError
from audiojax.nn.embed import sinusoidal_table
from audiojax.typing import Params


@dataclass(frozen=True)
class PairDenoiserConfig:
    """Width and switches of the denoiser; it has 10 D^2 + 7 D + 1 parameters.

    Attributes:
      width: D, width of query and candidates (1024 for DiffATR, 512 in DiffusionRet).
      add_x: add x_k to the attention logits (DiffATR section 2.2.1).
      qk_scale: divide <q, K_n> by sqrt(D); off in DiffusionRet.
      residual_w: add the attention weights to the output; on in DiffusionRet.
      levels: rows of the noise-level table; the steps of the schedule may not exceed it.
    """

    width: int = 1024
    add_x: bool = True
    qk_scale: bool = False
    residual_w: bool = True
    levels: int = 1000


class PairDenoiser(nn.Module):
    """The literal network: (x_k, k, query, candidates) -> p, the prediction of x_0; float32 out, no final activation."""

    config: PairDenoiserConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n"], k: Int[Array, "b"], query: Float[Array, "b d"], candidates: Float[Array, "b n d"]
    ) -> Float[Array, "b n"]:
        """Steps 1 to 7 of the DiffusionRet code, single head.

        e_k = W2 SiLU(W1 PE[k] + b1) + b2;  q = Wq (query + e_k);  K_n = Wk (c_n + e_k);  V_n = Wv (c_n + e_k)
        w = softmax_n(<q, K_n> + x_n);  o = Wo sum_n w_n V_n + bo;  p_n = MLP([o; c_n]) + w_n

        Args:
          x: noised scores x_k.
          k: noise level of each row, 0..levels-1.
          query: [b, d], or [b, n, d] where each candidate sees its own view of the query (text-conditioned frame pooling, audio to text).
          candidates: c_n, un-normalised embeddings.
        """
        width = self.config.width
        linear = partial(nn.Dense, kernel_init=nn.initializers.normal(0.02), dtype=self.dtype, param_dtype=self.param_dtype)
        level = jnp.asarray(sinusoidal_table(self.config.levels, width))[k]  # [b, d]
        level = linear(width, name="level_out")(nn.silu(linear(width, name="level_in")(level)))[:, None]  # [b, 1, d]
        query = (query[:, None] if query.ndim == 2 else query).astype(self.dtype)  # [b, 1 or n, d]
        noised = candidates.astype(self.dtype) + level  # [b, n, d]
        q = linear(width, use_bias=False, name="query")(query + level)
        keys = linear(width, use_bias=False, name="key")(noised)
        values = linear(width, use_bias=False, name="value")(noised)
        logits = jnp.sum(q * keys, axis=-1).astype(jnp.float32)  # [b, n]
        if self.config.qk_scale:
            logits = logits * width**-0.5
        w = jax.nn.softmax(logits + x if self.config.add_x else logits, axis=-1)
        attended = linear(width, name="out")(jnp.einsum("bn,bnd->bd", w.astype(self.dtype), values))
        pair = jnp.concatenate([jnp.broadcast_to(attended[:, None], candidates.shape), candidates.astype(self.dtype)], axis=-1)
        p = linear(1, name="mlp_out")(nn.relu(linear(2 * width, name="mlp_in")(pair)))[..., 0].astype(jnp.float32)
        return p + w if self.config.residual_w else p


@struct.dataclass
class PreparedCandidates:
    """Everything about candidates (a whole gallery, or [b, n] of them) that depends neither on the query nor on x.

    Attributes:
      key: M c, scaled where `qk_scale` is set.
      level_logits: <e_k, M c> at each of the K steps.
      context: A c, what a candidate adds to the hidden layer when attended to.
      hidden: W1b c, what it adds to its own hidden layer.
      level_hidden: A e_k + W1a bo + b1, the rest of the hidden layer at each step.
      out_kernel, out_bias: the last linear map.
    """

    key: Float[Array, "*a d"]
    level_logits: Float[Array, "*a k"]
    context: Float[Array, "*a 2d"]
    hidden: Float[Array, "*a 2d"]
    level_hidden: Float[Array, "k 2d"]
    out_kernel: Float[Array, "2d"]
    out_bias: Float[Array, ""]

    def take(self, indices: Int[Array, "b n"]) -> "PreparedCandidates":
        """The candidates `indices` [b, n] of a gallery."""
        rows = {name: getattr(self, name)[indices] for name in ("key", "level_logits", "context", "hidden")}
        return self.replace(**rows)


@struct.dataclass
class StepValues:
    """What changes from step to step besides x: attention logits and the hidden layer's share. Scanned along by the samplers."""

    logits: Float[Array, "k b n"]
    hidden: Float[Array, "k 2d"]


@struct.dataclass
class PreparedPairs:
    """Queries with their candidates, ready for the loop; pass `steps` to a sampler as `per_step`."""

    steps: StepValues
    context: Float[Array, "b n 2d"]
    hidden: Float[Array, "b n 2d"]
    out_kernel: Float[Array, "2d"]
    out_bias: Float[Array, ""]


def prepare_candidates(
    params: Params, config: PairDenoiserConfig, candidates: Float[Array, "*a d"], steps: Int[np.ndarray, "k"]
) -> PreparedCandidates:
    """The step-independent part of candidates for the noise levels `steps` (a sampler's grid without its last entry), in float32.

    Args:
      params: the "params" collection of a `PairDenoiser`.
      candidates: gallery [a, d], or [b, n, d].

    Raises:
      UsageError: a step lies outside the table, or the width is not the denoiser's.
    """
    steps = np.asarray(steps)
    if steps.size == 0 or steps.min() < 0 or steps.max() >= config.levels:
        raise UsageError(f"noise levels must lie in 0..{config.levels - 1} (PairDenoiserConfig.levels), got {steps.tolist()}")
    if candidates.shape[-1] != config.width:
        raise UsageError(f"the denoiser has width {config.width}, the candidates {candidates.shape[-1]}")
    kernel = {name: leaf["kernel"].astype(jnp.float32) for name, leaf in params.items()}
    candidates = candidates.astype(jnp.float32)
    attended_in, candidate_in = kernel["mlp_in"][: config.width], kernel["mlp_in"][config.width :]  # W1a, W1b, each [d, 2d]
    to_hidden = kernel["out"] @ attended_in  # [d, 2d]
    level = _level_embedding(params, config, steps)  # [k, d]
    scale = config.width**-0.5 if config.qk_scale else 1.0
    key = (candidates @ kernel["key"]) @ kernel["query"].T * scale
    bias = params["mlp_in"]["bias"] + params["out"]["bias"] @ attended_in  # [2d]
    return PreparedCandidates(
        key=key,
        level_logits=key @ level.T,
        context=candidates @ (kernel["value"] @ to_hidden),
        hidden=candidates @ candidate_in,
        level_hidden=(level @ kernel["value"]) @ to_hidden + bias[None],
        out_kernel=kernel["mlp_out"][:, 0],
        out_bias=params["mlp_out"]["bias"][0],
    )


def prepare_queries(query: Float[Array, "b d"], candidates: PreparedCandidates, indices: Int[Array, "b n"] | None = None) -> PreparedPairs:
    """Queries beside their candidates: rows `indices` of a prepared gallery, or all of `candidates` where it is [b, n] already."""
    if query.ndim != 2:
        raise UsageError(f"prepared queries are [b, d], got shape {query.shape}: per-candidate views need the literal PairDenoiser")
    chosen = candidates if indices is None else candidates.take(indices)
    logits = jnp.einsum("bd,bnd->bn", query.astype(jnp.float32), chosen.key)
    steps = StepValues(logits=jnp.moveaxis(logits[..., None] + chosen.level_logits, -1, 0), hidden=chosen.level_hidden)
    return PreparedPairs(steps, chosen.context, chosen.hidden, chosen.out_kernel, chosen.out_bias)


def denoise_prepared(config: PairDenoiserConfig, pairs: PreparedPairs, x: Float[Array, "b n"], now: StepValues) -> Float[Array, "b n"]:
    """p at one step: equal to `PairDenoiser` on the same query, candidates and level. `now` is one step of `pairs.steps`."""
    w = jax.nn.softmax(now.logits + x if config.add_x else now.logits, axis=-1)
    attended = jnp.einsum("bn,bnh->bh", w, pairs.context) + now.hidden[None]  # [b, 2d]
    hidden = nn.relu(pairs.hidden + attended[:, None])  # [b, n, 2d]
    p = jnp.einsum("bnh,h->bn", hidden, pairs.out_kernel) + pairs.out_bias
    return p + w if config.residual_w else p


def denoise_shared(
    params: Params,
    config: PairDenoiserConfig,
    x: Float[Array, "b n"],
    k: Int[Array, "b"],
    query: Float[Array, "b d"],
    candidates: Float[Array, "n d"],
    valid: Bool[Array, "b n"] | None = None,
) -> Float[Array, "b n"]:
    """p where all queries share their candidates, as in a training batch: the literal network at about 1 / n of its operations, float32.

    The same algebra with a noise level per row; gradients are the literal network's too. Candidates where `valid` is False get no
    attention, so the others' p is what it would be without them.
    """
    kernel = {name: leaf["kernel"] for name, leaf in params.items()}
    level = _level_embedding(params, config, k)  # [b, d]
    logits = (((query + level) @ kernel["query"]) @ kernel["key"].T) @ candidates.T  # <q, Wk c_n>; <q, Wk e_k> vanishes in the softmax
    if config.qk_scale:
        logits = logits * config.width**-0.5
    logits = logits + x if config.add_x else logits
    w = jax.nn.softmax(logits if valid is None else jnp.where(valid, logits, jnp.finfo(logits.dtype).min), axis=-1)
    attended = ((w @ candidates + level) @ kernel["value"]) @ kernel["out"] + params["out"]["bias"][None]  # [b, d]
    attended_in, candidate_in = kernel["mlp_in"][: config.width], kernel["mlp_in"][config.width :]
    shared = attended @ attended_in + params["mlp_in"]["bias"][None]  # [b, 2d]
    hidden = nn.relu(shared[:, None] + (candidates @ candidate_in)[None])  # [b, n, 2d]
    p = (hidden @ kernel["mlp_out"])[..., 0] + params["mlp_out"]["bias"][0]
    return p + w if config.residual_w else p


def _level_embedding(params: Params, config: PairDenoiserConfig, steps: Int[Array, "k"]) -> Float[Array, "k d"]:
    table = jnp.asarray(sinusoidal_table(config.levels, config.width))[jnp.asarray(steps)]
    inner = nn.silu(table @ params["level_in"]["kernel"] + params["level_in"]["bias"][None])
    return inner @ params["level_out"]["kernel"] + params["level_out"]["bias"][None]
