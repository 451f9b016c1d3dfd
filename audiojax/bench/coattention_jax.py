"""Worker of the co-attention bench: our pair scores, or a plain matrix product. Writes what torch needs to repeat the scores."""

import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from audiojax.bench.coattention import useful_operations
from audiojax.bench.harness import serve
from audiojax.bench.towers_jax import fill, normal
from audiojax.models.co_attention import CoAttention, CoAttentionConfig, States, pair_scores


@jax.default_matmul_precision("highest")  # a GPU would take TF32 by itself, torch does not
def prepare(spec: dict[str, Any]):
    """Compiles and calls what the spec asks for once: the product where it has a "product", else the scores."""
    rng = np.random.default_rng(0)
    make = product if "product" in spec else scores
    function, inputs, facts = make(spec, rng)
    jax.block_until_ready(inputs)
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*inputs).compile()
    result = jax.block_until_ready(compiled(*inputs))
    first_seconds = time.perf_counter() - start
    if "shared" in spec:
        save(spec["shared"], *inputs, result)
    (device,) = result.devices()
    where = {"platform": device.platform, "device": device.device_kind}
    return lambda: jax.block_until_ready(compiled(*inputs)), {"first_seconds": first_seconds, **facts, **where}


def product(spec: dict[str, Any], rng: np.random.Generator):
    """(function, inputs, facts) of one product of square matrices."""
    size = spec["product"]
    return jnp.matmul, (normal(rng, size, size), normal(rng, size, size)), {"items": 1, "flops": 2.0 * size**3}


def scores(spec: dict[str, Any], rng: np.random.Generator):
    """(function, inputs, facts) of the scores; inputs are the weights, the states of texts and of sounds, all positions valid."""
    width, length, steps = spec["width"], spec["length"], spec["steps"]
    config = CoAttentionConfig(width=width, heads=spec["heads"], hidden=4 * width, cascade="iterate", depth=steps)
    network = CoAttention(config)

    def states(rows: int) -> States:
        return States(normal(rng, rows, length, spec["input_width"]), jnp.ones((rows, length), bool))

    text, audio = states(spec["texts"]), states(spec["sounds"])
    first = [jax.tree.map(lambda x: x[:1], side) for side in (text, audio)]
    params = fill(rng, jax.eval_shape(lambda: network.init(jax.random.key(0), *first, train=False))["params"])
    sizes = {"words": length, "segments": length, "width": width, "hidden": config.hidden, "input_width": spec["input_width"]}
    flops = useful_operations(spec["texts"], spec["sounds"], **sizes, steps=steps)

    def function(params, text, audio):
        return pair_scores(network, params, text, audio)

    return function, (params, text, audio), {"items": spec["texts"] * spec["sounds"], "flops": flops}


def save(path: str, params: Any, text: States, audio: States, result: jax.Array) -> None:
    """Writes weights as "params/unit_0/text/self/query/kernel", ..., and "text", "audio" and "result" to an npz file."""
    arrays = {f"params/{name}": np.asarray(value) for name, value in flatten_dict(params, sep="/").items()}
    np.savez(path, text=np.asarray(text.values), audio=np.asarray(audio.values), result=np.asarray(result), **arrays)


if __name__ == "__main__":
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch's worker needs room on the same GPU
    serve(prepare)
