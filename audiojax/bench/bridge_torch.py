"""Worker of the bridge bench: the network and DDIM in plain PyTorch, eager, time worked out once a step. Imports no jax."""

import math
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import layer_norm, linear, normalize, silu

from audiojax.bench.harness import serve
from audiojax.bench.torch_device import describe, device_for, finished

Weights = dict[str, torch.Tensor]
EPS = 1e-6


def dense(p: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    """The linear map of that name."""
    return linear(x, p[f"{name}/kernel"], p[f"{name}/bias"])


def denoise(p: Weights, x: torch.Tensor, step: int, frequencies: int) -> torch.Tensor:
    """x0_hat of vectors [b, d] at one step."""
    angle = step * torch.exp(-math.log(10_000) * torch.arange(frequencies // 2, device=x.device) / (frequencies // 2))
    time = silu(dense(p, "time_out", silu(dense(p, "time_in", torch.cat([angle.cos(), angle.sin()])[None]))))
    x = dense(p, "input", x)
    for i in range(sum(name.endswith("/up/kernel") for name in p)):
        block = f"blocks_{i}"
        shift, scale, gate = dense(p, f"{block}/time", time).chunk(3, dim=-1)
        y = layer_norm(x, x.shape[-1:], p[f"{block}/norm/scale"], p[f"{block}/norm/bias"], EPS) * (1 + scale) + shift
        x = x + gate * dense(p, f"{block}/down", silu(dense(p, f"{block}/up", y)))
    shift, scale = dense(p, "output_time", time).chunk(2, dim=-1)
    return dense(p, "output", layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale) + shift)


@torch.inference_mode()
def bridge(p: Weights, facts: dict[str, Any], embeddings: torch.Tensor, noise: torch.Tensor, batches: int) -> torch.Tensor:
    """The bridged vectors of a batch, as often as there are batches."""
    levels = [(int(step), float(facts["alpha_bar"][step])) for step in facts["grid"][:-1]]
    for _ in range(batches):
        kept = levels[0][1]
        x = kept**0.5 * facts["kappa"] * normalize(embeddings, dim=-1) + (1 - kept) ** 0.5 * noise
        for (step, kept), (_, after) in zip(levels, [*levels[1:], (-1, 1.0)], strict=True):
            x0 = denoise(p, x, step, facts["frequencies"])
            x = after**0.5 * x0 + (1 - after) ** 0.5 * (x - kept**0.5 * x0) / (1 - kept) ** 0.5
    return normalize(x, dim=-1)


def prepare(spec: dict[str, Any]):
    """Loads what our worker wrote, runs once, and reports how far the result is from ours."""
    torch.set_float32_matmul_precision("highest")  # as on our side
    arrays, device = dict(np.load(spec["shared"])), device_for(spec["ours"]["platform"])
    p = {name.removeprefix("params/"): torch.from_numpy(value) for name, value in arrays.items() if name.startswith("params/")}
    p = {name: (value.T.contiguous() if name.endswith("kernel") else value).to(device) for name, value in p.items()}
    facts = {"alpha_bar": arrays["alpha_bar"], "grid": arrays["grid"]}
    facts |= {"kappa": float(arrays["kappa"]), "frequencies": int(arrays["frequencies"])}
    embeddings, noise = (torch.from_numpy(arrays[name]).to(device) for name in ("embeddings", "noise"))
    call = finished(partial(bridge, p, facts, embeddings, noise, spec["batches"]), device)
    start = time.perf_counter()
    result = call()
    first_seconds = time.perf_counter() - start
    difference = float(np.abs(result.cpu().numpy() - arrays["result"]).max())
    items = len(embeddings) * spec["batches"]
    return call, {"first_seconds": first_seconds, "items": items, "difference": difference, **describe(device)}


if __name__ == "__main__":
    serve(prepare)
