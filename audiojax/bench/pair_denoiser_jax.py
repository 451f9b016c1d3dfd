"""Worker of the pair denoiser bench: our sampler. Writes what the torch worker needs to repeat it (parameters, inputs, noise, result)."""

import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audiojax.bench.harness import serve
from audiojax.models.pair_denoiser import PairDenoiser, PairDenoiserConfig
from audiojax.nn.embed import sinusoidal_table
from audiojax.papers.diffatr.inference import diffuse_scores
from audiojax.sampling import initial_noise
from audiojax.schedule import make_schedule


def prepare(spec: dict[str, Any]):
    """Builds a random denoiser (kernels N(0, 0.02) at D = 1024, biases that matter) and embeddings; the first call compiles."""
    rng = np.random.default_rng(0)
    config = PairDenoiserConfig(width=spec["width"], levels=spec["steps"])
    queries = jnp.asarray(0.3 * rng.standard_normal((spec["queries"], spec["width"])), jnp.float32)
    gallery = jnp.asarray(0.3 * rng.standard_normal((spec["gallery"], spec["width"])), jnp.float32)
    x, level = jnp.zeros((1, spec["top_m"])), jnp.zeros(1, jnp.int32)
    shapes = jax.eval_shape(PairDenoiser(config).init, jax.random.key(1), x, level, queries[:1], gallery[None, : spec["top_m"]])["params"]
    spread = 0.64 / spec["width"] ** 0.5
    params = jax.tree.map(
        lambda leaf: jnp.asarray((spread if leaf.ndim == 2 else 0.1) * rng.standard_normal(leaf.shape), jnp.float32), shapes
    )
    schedule, key = make_schedule("cosine", spec["steps"]), jax.random.key(2)

    @jax.default_matmul_precision("highest")  # a GPU would take TF32 by itself, torch does not
    def call():
        options = {"top_m": spec["top_m"], "query_block": spec["query_block"]}
        return jax.block_until_ready(diffuse_scores(params, config, schedule, queries, gallery, key, **options))

    start = time.perf_counter()
    scores = call()
    first_seconds = time.perf_counter() - start
    n = spec["checked"]
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, i), 0))(jnp.arange(n))  # draw 0 of query i
    arrays = {f"params/{layer}/{leaf}": value for layer, leaves in params.items() for leaf, value in leaves.items()}
    arrays |= {"queries": queries[:n], "gallery": gallery, "top": scores.top[:n], "noise": initial_noise(keys, (spec["top_m"],))}
    arrays |= {"result": scores.x[:n, 0], "beta": schedule.beta, "table": sinusoidal_table(spec["steps"], spec["width"])}
    np.savez(spec["shared"], **{name: np.asarray(value) for name, value in arrays.items()})
    (device,) = scores.x.devices()
    where = {"platform": device.platform, "device": device.device_kind}
    return call, {"first_seconds": first_seconds, "items": spec["queries"], **where}


if __name__ == "__main__":
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch's worker needs room on the same GPU
    serve(prepare)
