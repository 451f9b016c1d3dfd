"""Worker of the pair denoiser bench: the literal network in a plain PyTorch loop, eager, blocks of 64 queries. Imports no jax."""

import time
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import linear, relu, silu

from audiojax.bench.harness import serve
from audiojax.bench.torch_device import describe, device_for, finished

BLOCK = 64


def denoise(
    p: dict[str, torch.Tensor], level: torch.Tensor, x: torch.Tensor, query: torch.Tensor, candidates: torch.Tensor
) -> torch.Tensor:
    """p_n of one block [b, n] at one noise level, as the paper writes it; `level` is the row of the sinusoidal table."""
    e = linear(silu(linear(level, p["level_in/kernel"], p["level_in/bias"])), p["level_out/kernel"], p["level_out/bias"])
    noised = candidates + e
    q = linear(query + e, p["query/kernel"])
    keys, values = linear(noised, p["key/kernel"]), linear(noised, p["value/kernel"])
    w = torch.softmax(torch.einsum("bd,bnd->bn", q, keys).float() + x, dim=-1)
    attended = linear(torch.einsum("bn,bnd->bd", w.to(values.dtype), values), p["out/kernel"], p["out/bias"])
    pair = torch.cat([attended[:, None].expand_as(candidates), candidates], dim=-1)
    hidden = relu(linear(pair, p["mlp_in/kernel"], p["mlp_in/bias"]))
    return linear(hidden, p["mlp_out/kernel"], p["mlp_out/bias"])[..., 0].float() + w


@torch.inference_mode()
def sample(p, table, alpha_bar, queries, gallery, top, noise) -> torch.Tensor:
    """DDIM, eta 0, all steps, x0_hat clipped to [-1, 1]; x stays in float32."""
    results = []
    for start in range(0, len(queries), BLOCK):
        block = slice(start, start + BLOCK)
        query, candidates, x = queries[block], gallery[top[block]], noise[block]
        for k in range(len(alpha_bar) - 1, -1, -1):
            x0 = denoise(p, table[k], x, query, candidates).clamp(-1, 1)
            before = alpha_bar[k - 1] if k > 0 else 1.0
            eps = (x / alpha_bar[k] ** 0.5 - x0) / (1 / alpha_bar[k] - 1) ** 0.5
            x = before**0.5 * x0 + (1 - before) ** 0.5 * eps
        results.append(x)
    return torch.cat(results)


def prepare(spec: dict[str, Any]):
    """Loads what our worker wrote, runs once, and reports how far the result is from ours."""
    torch.set_float32_matmul_precision("highest")  # as on our side
    arrays = dict(np.load(spec["shared"]))
    dtype, device = getattr(torch, spec["dtype"]), device_for(spec["ours"]["platform"])
    p = {name.removeprefix("params/"): torch.from_numpy(value) for name, value in arrays.items() if name.startswith("params/")}
    p = {name: (value.T.contiguous() if name.endswith("kernel") else value).to(device, dtype) for name, value in p.items()}
    alpha_bar = np.cumprod(1.0 - arrays["beta"].astype(np.float64)).tolist()
    table, queries, gallery = (torch.from_numpy(arrays[name]).to(device, dtype) for name in ("table", "queries", "gallery"))
    top, noise = (torch.from_numpy(value).to(device) for value in (arrays["top"].astype(np.int64), arrays["noise"]))

    call = finished(partial(sample, p, table, alpha_bar, queries, gallery, top, noise), device)
    start = time.perf_counter()
    result = call()
    first_seconds = time.perf_counter() - start
    difference = float(np.abs(result.cpu().numpy() - arrays["result"]).max())
    return call, {"first_seconds": first_seconds, "items": len(queries), "difference": difference, **describe(device)}


if __name__ == "__main__":
    serve(prepare)
