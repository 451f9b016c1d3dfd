"""Retrieval with DiffATR: diffuse the match scores of each query over its top M candidates, then fuse them with the cosine.

Queries go through in blocks inside one jit, spread over the devices that hold the parameters, and each block runs the whole DDIM chain
(eta 0, all K steps, clip to [-1, 1]; DiffusionRet code). The chain's end x does not depend on alpha and temperature, so these two are
chosen afterwards, on validation, from one sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from audiojax.models.pair_denoiser import PairDenoiserConfig, PreparedPairs, denoise_prepared, prepare_candidates, prepare_queries
from audiojax.papers.diffatr.model import cosine, unit_rows
from audiojax.partition import mesh_of
from audiojax.sampling import initial_noise, sample_ddim
from audiojax.schedule import Schedule, timestep_grid
from audiojax.typing import Key, Params


@dataclass(frozen=True)
class Fusion:
    """S + alpha softmax(temperature x) on the top M of a query; alpha = temperature = 1 in the DiffusionRet code."""

    alpha: float = 1.0
    temperature: float = 1.0


class Scores(NamedTuple):
    """What one direction's search gives before fusion.

    Attributes:
      similarity: S [q, a], cosine of every query with every candidate.
      top: [q, m], the top M candidates by S, best first.
      x: [q, r, m], end of the diffusion chain on them for each of R noise draws, in [-1, 1].
    """

    similarity: Float[Array, "q a"]
    top: Int[Array, "q m"]
    x: Float[Array, "q r m"]


def diffuse_scores(
    params: Params,
    config: PairDenoiserConfig,
    schedule: Schedule,
    queries: Float[Array, "q d"],
    candidates: Float[Array, "a d"],
    key: Key,
    *,
    top_m: int = 32,
    noise_draws: int = 1,
    query_block: int = 16,
    l2_input: bool = False,
) -> Scores:
    """Cosine, top M and the sampled joint distribution of every query.

    Args:
      params: of the direction's `PairDenoiser`; where they lie on a mesh, the queries of a block are shared out over its devices.
      queries, candidates: un-normalised joint embeddings.
      key: query i draws its noise from fold_in(key, i), so blocks and other queries do not matter.
      top_m: M; 0 or more than the candidates means all of them.
      query_block: queries that a device takes at once.
      noise_draws: R independent chains a query.
      l2_input: unit-length features into the denoiser (`denoiser.input = "l2"`).
    """
    m = min(top_m, candidates.shape[0]) if top_m > 0 else candidates.shape[0]
    mesh = mesh_of(params)
    devices = mesh.size if mesh else 1
    block = min(query_block, -(-queries.shape[0] // devices)) * devices
    padded = jnp.pad(queries, ((0, -queries.shape[0] % block), (0, 0)))
    options = {"config": config, "m": m, "draws": noise_draws, "block": block, "l2_input": l2_input, "mesh": mesh}
    scores = _diffuse(params, schedule, padded, candidates, key, **options)
    return Scores(*(leaf[: queries.shape[0]] for leaf in scores))


@partial(jax.jit, static_argnames=("config", "m", "draws", "block", "l2_input", "mesh"))
def _diffuse(params, schedule, queries, candidates, key, *, config, m, draws, block, l2_input, mesh) -> Scores:
    grid = timestep_grid(schedule.num_steps)
    features = unit_rows(candidates) if l2_input else candidates
    prepare = partial(prepare_candidates, params, config, steps=grid[:-1])
    gallery = prepare(features) if queries.shape[0] * m >= candidates.shape[0] else None  # few queries: their own candidates alone

    def one_block(rows: tuple[Array, Array]) -> Scores:
        index, query = rows  # [block], [block, d]
        similarity = cosine(query, candidates)
        top = jax.lax.top_k(similarity, m)[1]
        inputs = unit_rows(query) if l2_input else query
        pairs = prepare_queries(inputs, prepare(features[top])) if gallery is None else prepare_queries(inputs, gallery, top)
        return Scores(similarity, top, _chains(pairs, config, schedule, grid, top.shape, index, key, draws))

    def spread(tree: Any, *axes: Any) -> Any:
        return tree if mesh is None else jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec(*axes)))

    index = jnp.arange(queries.shape[0], dtype=jnp.int32)
    blocks = jax.tree.map(lambda leaf: leaf.reshape(-1, block, *leaf.shape[1:]), (index, queries))
    scores = jax.lax.map(one_block, spread(blocks, None, None if mesh is None else mesh.axis_names))
    return spread(jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), scores))


def _chains(
    pairs: PreparedPairs, config: PairDenoiserConfig, schedule: Schedule, grid, shape: tuple[int, int], index, key, draws: int
) -> Float[Array, "b r m"]:
    model = partial(denoise_prepared, config, pairs)

    def one_draw(draw: Array) -> Float[Array, "b m"]:
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, i), draw))(index)
        x = initial_noise(keys, shape[1:])
        return sample_ddim(
            lambda x, t, now: model(x, now),
            schedule,
            x,
            grid,
            prediction="x0",
            clip=lambda x0: jnp.clip(x0, -1.0, 1.0),
            per_step=pairs.steps,
        )

    return jnp.moveaxis(jax.lax.map(one_draw, jnp.arange(draws, dtype=jnp.int32)), 0, 1)


def joint_probability(x: Float[np.ndarray, "q r m"], temperature: float = 1.0) -> Float[np.ndarray, "q m"]:
    """pi = softmax(temperature x) over the M candidates, averaged over the draws; rows sum to 1."""
    logits = temperature * np.asarray(x, np.float64)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (weights / weights.sum(axis=-1, keepdims=True)).mean(axis=1)


def fuse(scores: Scores, fusion: Fusion) -> Float[np.ndarray, "q a"]:
    """S with alpha pi added on the top M; every other candidate keeps S bit for bit.

    For alpha >= 0 the top-M set of a query stays what it was: pi is positive, so its members only rise.
    """
    fused = np.array(scores.similarity)
    if fusion.alpha != 0.0:
        top = np.asarray(scores.top)
        lifted = np.take_along_axis(fused, top, axis=1) + fusion.alpha * joint_probability(scores.x, fusion.temperature)
        np.put_along_axis(fused, top, lifted.astype(fused.dtype), axis=1)
    return fused


def fusion_report(scores: Scores, fusion: Fusion) -> dict[str, float]:
    """Range of pi, and the share of queries whose first hit the fusion changes."""
    pi = joint_probability(scores.x, fusion.temperature)
    changed = np.argmax(fuse(scores, fusion), axis=1) != np.argmax(np.asarray(scores.similarity), axis=1)
    return {"pi_min": float(pi.min()), "pi_max": float(pi.max()), "top1_changed": float(changed.mean())}


def fusion_grid(alphas: Sequence[float], temperatures: Sequence[float]) -> list[Fusion]:
    """All settings to try on validation, the mildest first, so that a tie keeps the smallest intervention."""
    return [
        Fusion(float(alpha), float(temperature)) for alpha in sorted(alphas) for temperature in (sorted(temperatures) if alpha else [1.0])
    ]
