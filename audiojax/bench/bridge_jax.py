"""Worker of the bridge bench: our bridge. Writes what torch needs to repeat a batch: weights, schedule, embeddings, noise and result."""

import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from audiojax.bench.bridge import useful_operations
from audiojax.bench.harness import serve
from audiojax.bench.towers_jax import fill, normal
from audiojax.config import load_config, to_dict
from audiojax.papers.diffusion_link import bridge_embeddings, make_settings
from audiojax.sampling import initial_noise


@jax.default_matmul_precision("highest")  # a GPU would take TF32 by itself, torch does not
def prepare(spec: dict[str, Any]):
    """Builds a random bridge and embeddings; the first call compiles."""
    rng, rows = np.random.default_rng(0), spec["batch"]
    settings = make_settings(to_dict(load_config(spec["config"])), vocab_size=8)
    network, sizes = settings.network, settings.network.config
    embeddings = normal(rng, rows, settings.width)
    shapes = jax.eval_shape(network.init, jax.random.key(0), embeddings[:1], jnp.zeros(1, jnp.int32))
    params, keys = {"bridge": fill(rng, shapes)["params"]}, jax.random.split(jax.random.key(1), rows)

    start = time.perf_counter()
    bridge = jax.jit(lambda params, embeddings, keys: bridge_embeddings(settings, params, {}, embeddings, keys))
    compiled = bridge.lower(params, embeddings, keys).compile()
    compile_seconds = time.perf_counter() - start
    result = jax.block_until_ready(compiled(params, embeddings, keys))
    first_seconds = time.perf_counter() - start

    def call():
        return jax.block_until_ready([compiled(params, embeddings, keys) for _ in range(spec["batches"])])

    arrays = {f"params/{name}": value for name, value in flatten_dict(params["bridge"], sep="/").items()}
    arrays |= {"grid": settings.grid, "alpha_bar": settings.schedule.alpha_bar, "kappa": settings.kappa, "frequencies": sizes.frequencies}
    arrays |= {"embeddings": embeddings, "noise": initial_noise(keys, (settings.width,)), "result": result}
    np.savez(spec["shared"], **{name: np.asarray(value) for name, value in arrays.items()})
    (device,) = result.devices()
    items = rows * spec["batches"]
    flops = useful_operations(items, steps=settings.bridge.steps, features=settings.width, width=sizes.width, blocks=sizes.blocks)
    where = {"platform": device.platform, "device": device.device_kind}
    took = {"first_seconds": first_seconds, "compile_seconds": compile_seconds}
    return call, {**took, "items": items, "flops": flops, **where}


if __name__ == "__main__":
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch's worker needs room on the same GPU
    serve(prepare)
