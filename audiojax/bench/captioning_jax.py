"""Worker of the captioning bench: one way of DAC to write captions."""

import os
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audiojax.bench.harness import serve
from audiojax.bench.towers_jax import fill, normal
from audiojax.config import load_config, to_dict
from audiojax.models.decoding import Decoding
from audiojax.papers.dac import Sampling, make_settings, write
from audiojax.papers.dac.task import init

VOCABULARY = {"tiny": 1_000}  # rows of the word table by text preset; else BERT's


def prepare(spec: dict[str, Any]):
    """Builds random networks and the tokens of clips; the first call compiles."""
    config = to_dict(load_config(spec["config"], [f"data.max_tokens={spec['tokens']}"]))
    settings = make_settings(config, VOCABULARY.get(config["model"]["text_preset"], 30_522))
    options: Sampling | Decoding = (
        Sampling(**spec["options"]) if "steps" in spec["options"] else Decoding(spec["tokens"], **spec["options"])
    )
    phase = "diffusion" if isinstance(options, Sampling) else "autoregressive"
    rng, (windows, samples, _) = np.random.default_rng(0), settings.shape
    shapes = jax.eval_shape(partial(init, settings, phase), jax.random.key(0), {})
    params = fill(rng, shapes["params"])
    state = {"latent": {"mean": jnp.zeros(settings.towers.text_config.width), "std": jnp.ones(settings.towers.text_config.width)}}
    heard = (jax.ShapeDtypeStruct((1, windows, samples), jnp.float32), jax.ShapeDtypeStruct((1, windows), bool))
    listen = partial(settings.towers.apply, {"params": params["towers"]}, method="listen")
    values = normal(rng, spec["clips"], *jax.eval_shape(listen, *heard).values.shape[1:])
    batch = {"audio_values": values, "audio_mask": jnp.ones(values.shape[:2], bool)}
    keys = jax.random.split(jax.random.key(1), spec["clips"])

    @jax.default_matmul_precision("highest")  # as the other benches
    def call():
        return jax.block_until_ready(write(settings, params, state, batch, keys, options))

    start = time.perf_counter()
    written = call()
    first_seconds = time.perf_counter() - start
    (device,) = written.tokens.devices()
    where = {"platform": device.platform, "device": device.device_kind}
    return call, {"first_seconds": first_seconds, "items": spec["clips"], "tokens": written.tokens.shape[1], **where}


if __name__ == "__main__":
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several workers share a GPU
    serve(prepare)
