"""Compiles a training step of the published decoder of Diffusion-Link for several devices, and tells the bytes that each of them needs.

    python -m tests.soak.link_memory --devices 16
    python -m tests.soak.link_memory --devices 8 --layers 2 4    # quicker: what all layers need follows from the difference
    python -m tests.soak.link_memory --devices 1 --set model.llama_preset=tinyllama-1.1b mesh=(1,1,1) decoder.batch_size=4

Nothing is allocated. The devices are fake ones of a CPU, whose compiler computes products of bfloat16 in float32: a TPU needs less.
"""

import argparse
import os
from dataclasses import replace

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--devices", type=int, default=8)
parser.add_argument("--layers", type=int, nargs="+", default=[], help="of the LLaMA; all by default")
parser.add_argument("--set", nargs="+", default=[], help="overrides of the config, key=value")
ARGUMENTS = parser.parse_args()
FLAGS = f"--xla_force_host_platform_device_count={ARGUMENTS.devices} --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"], os.environ["JAX_PLATFORMS"] = FLAGS, "cpu"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from audiojax.config import load_config, to_dict  # noqa: E402
from audiojax.models.llama import PRESETS  # noqa: E402
from audiojax.papers import PAPERS  # noqa: E402
from audiojax.partition import split_params  # noqa: E402
from audiojax.trainer.layout import make_layout, shardings_of, wrap_step  # noqa: E402
from audiojax.trainer.optim import make_optimizer  # noqa: E402
from audiojax.trainer.state import create_state  # noqa: E402
from audiojax.trainer.step import make_train_step  # noqa: E402

CONFIG = to_dict(load_config("diffusion_link/audiocaps:decoder", ARGUMENTS.set))
PRESET = CONFIG["model"]["llama_preset"]
LAYERS = PRESETS[PRESET].layers


def bytes_of(layers: int) -> dict[str, int]:
    """What a device holds of arguments, the weights among them, and of everything else, while a step of a LLaMA of so many layers runs."""
    PRESETS[PRESET], config = replace(PRESETS[PRESET], layers=layers), CONFIG
    task = PAPERS["diffusion_link"].make_task(config, "decoder", vocab_size=50_265)
    rows, length = config["decoder"]["batch_size"], config["caption"]["max_tokens"]
    batch = {f"sentence_{name}": jax.ShapeDtypeStruct((rows, length), kind) for name, kind in (("ids", jnp.int32), ("mask", bool))}
    batch |= {"sentence_scored": batch["sentence_mask"], "text_embedding": jax.ShapeDtypeStruct((rows, 512), jnp.float32)}
    batch |= {"audio_embedding": batch["text_embedding"], "clip_index": jax.ShapeDtypeStruct((rows,), jnp.int32)}
    abstract = jax.eval_shape(task.init, jax.random.key(0), {})
    trainable, frozen = split_params(abstract["params"], config["decoder"]["trainable"])
    optimizer = make_optimizer(config["decoder"]["groups"], trainable, config["decoder"]["steps"])
    state = jax.eval_shape(lambda p, m, k: create_state(p, m, optimizer, k, True), trainable, abstract["model_state"], jax.random.key(0))
    layout = make_layout(config["parallel"], config["mesh"])
    shardings = [shardings_of(layout, tree, abstract["params"], task.partition_rules) for tree in (state, frozen)]
    step = make_train_step(task, optimizer, ema_decay=config["train"]["ema_decay"])
    used = wrap_step(layout, step, *shardings).lower(state, frozen, batch).compile().memory_analysis()
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract["params"]["llama"]))
    return {
        "weights of the LLaMA": weights // ARGUMENTS.devices,
        "arguments": used.argument_size_in_bytes,
        "temporary": used.temp_size_in_bytes,
    }


if __name__ == "__main__":
    found = {}
    for count in ARGUMENTS.layers or [LAYERS]:
        found[count] = bytes_of(count)
        print(
            f"{ARGUMENTS.devices} devices, {count} layers:", {name: f"{x / 2**30:.2f} GiB" for name, x in found[count].items()}, flush=True
        )
    if len(found) == 2:
        (a, first), (b, second) = found.items()
        whole = {name: first[name] + (second[name] - first[name]) / (b - a) * (LAYERS - a) for name in first}
        total = whole["arguments"] + whole["temporary"]
        print(f"{LAYERS} layers by these two: {total / 2**30:.2f} GiB,", {name: f"{x / 2**30:.2f} GiB" for name, x in whole.items()})
