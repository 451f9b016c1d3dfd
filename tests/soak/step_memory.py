"""Compiles a training step of an installed config for several devices, and tells the bytes and the FLOPs that each of them needs.

    python -m tests.soak.step_memory dac/audiocaps diffusion --devices 8 --parallel pmap
    python -m tests.soak.step_memory re_audioldm/audiocaps:diffusion diffusion --devices 16 --mesh 1,16,1
    python -m tests.soak.step_memory diffusion_link/audiocaps:decoder decoder --devices 8 --mesh 1,4,2 --layers 2 4
    python -m tests.soak.step_memory diffusion_link/audiocaps:decoder decoder --devices 1 --mesh 1,1,1 --rows 4 \\
        --set model.llama_preset=tinyllama-1.1b
    python -m tests.soak.step_memory diffusion_link/audiocaps:decoder decoder --tpu v5e:4x4 --mesh 1,8,2     # needs libtpu, and no TPU

Nothing is allocated. Without --tpu the devices are fake ones of a CPU, whose compiler computes products of bfloat16 in float32: an
accelerator needs less. With it the compiler is that of the TPU, whose memory a step that does not fit is refused by.
"""

import argparse
import os
from dataclasses import replace

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("config")
parser.add_argument("phase")
parser.add_argument("--devices", type=int, default=8)
parser.add_argument("--parallel", default="mesh")
parser.add_argument("--mesh", default="-1,1,1")
parser.add_argument("--tpu", help="topology, such as v5e:4x4 or v4:2x2x2, in place of fake devices")
parser.add_argument("--rows", type=int, help="of the global batch; the config's by default")
parser.add_argument("--layers", type=int, nargs="+", default=[], help="of the LLaMA, two numbers: what all layers need follows from both")
parser.add_argument("--set", nargs="+", default=[], help="overrides of the config, key=value")
ARGUMENTS = parser.parse_args()
if ARGUMENTS.tpu:
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-16", "TPU_WORKER_HOSTNAMES": "localhost"}
FLAGS = f"--xla_force_host_platform_device_count={ARGUMENTS.devices} --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"], os.environ["JAX_PLATFORMS"] = FLAGS, "cpu"

import jax  # noqa: E402
from jax.experimental import topologies  # noqa: E402

from audiojax.config import load_config, to_dict  # noqa: E402
from audiojax.models.llama import PRESETS  # noqa: E402
from tests.published import lowered_step  # noqa: E402


def needs(config):
    """Bytes that a device holds of arguments and of everything else while a step runs, and the FLOPs of one device."""
    mesh, devices = tuple(map(int, ARGUMENTS.mesh.split(","))), None
    if ARGUMENTS.tpu:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=ARGUMENTS.tpu).devices
    found = lowered_step(config, ARGUMENTS.phase, ARGUMENTS.parallel, mesh, devices, rows=ARGUMENTS.rows)
    compiled = found.step.compile()
    used = compiled.memory_analysis()
    analysis = compiled.cost_analysis() or {}
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(found.abstract["params"]))
    return {
        "weights, on all devices together": weights,
        "arguments": used.argument_size_in_bytes,
        "temporary": used.temp_size_in_bytes,
        "GFLOP": (analysis[0] if isinstance(analysis, list) else analysis).get("flops", 0.0) / 1e9,
    }


def line(found):
    return ", ".join(f"{name} {x:.1f}" if name == "GFLOP" else f"{name} {x / 2**30:.2f} GiB" for name, x in found.items())


if __name__ == "__main__":
    config = to_dict(load_config(ARGUMENTS.config, ARGUMENTS.set))
    if not ARGUMENTS.layers:
        where = f"TPU {ARGUMENTS.tpu}" if ARGUMENTS.tpu else f"{ARGUMENTS.devices} devices"
        print(f"{ARGUMENTS.config} {ARGUMENTS.phase}, {where}, {ARGUMENTS.parallel}:", line(needs(config)))
    else:
        preset, found = config["model"]["llama_preset"], []
        whole = PRESETS[preset].layers
        for count in ARGUMENTS.layers:
            PRESETS[preset] = replace(PRESETS[preset], layers=count)
            found.append(needs(config))
            print(f"{count} layers:", line(found[-1]), flush=True)
        (a, b), (first, second) = ARGUMENTS.layers, found
        print(f"{whole} layers by these two:", line({k: first[k] + (second[k] - first[k]) / (b - a) * (whole - a) for k in first}))
