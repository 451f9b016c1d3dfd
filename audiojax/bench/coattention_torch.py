"""Worker of the co-attention bench: the network in plain PyTorch, eager, a sound with all texts at a time. Imports no jax."""

import time
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import layer_norm, linear, normalize, relu, scaled_dot_product_attention

from audiojax.bench.harness import serve
from audiojax.bench.torch_device import describe, device_for, finished

Weights = dict[str, torch.Tensor]


def attend(p: Weights, name: str, x: torch.Tensor, context: torch.Tensor, heads: int) -> torch.Tensor:
    """Multi-head attention from x [b, n, d] to the context [b, m, d]."""

    def project(part: str, source: torch.Tensor) -> torch.Tensor:  # [b, heads, time, features]
        y = linear(source, p[f"{name}/{part}/kernel"], p[f"{name}/{part}/bias"])
        return y.unflatten(-1, (heads, -1)).transpose(1, 2)

    mixed = scaled_dot_product_attention(project("query", x), project("key", context), project("value", context))
    return linear(mixed.transpose(1, 2).flatten(2), p[f"{name}/out/kernel"], p[f"{name}/out/bias"])


def guided(p: Weights, name: str, x: torch.Tensor, other: torch.Tensor, heads: int) -> torch.Tensor:
    """SGA(x | other)."""

    def norm(part: str, value: torch.Tensor) -> torch.Tensor:
        return layer_norm(value, value.shape[-1:], p[f"{name}/norm_{part}/scale"], p[f"{name}/norm_{part}/bias"], 1e-6)

    x = norm("self", x + attend(p, f"{name}/self", x, x, heads))
    x = norm("guided", x + attend(p, f"{name}/guided", x, other, heads))
    hidden = relu(linear(x, p[f"{name}/mlp/up/kernel"], p[f"{name}/mlp/up/bias"]))
    return norm("mlp", x + linear(hidden, p[f"{name}/mlp/down/kernel"], p[f"{name}/mlp/down/bias"]))


@torch.inference_mode()
def score(p: Weights, text: torch.Tensor, audio: torch.Tensor, heads: int, steps: int) -> torch.Tensor:
    """s_ij of every text i with every sound j, [i, j]."""
    text = linear(text, p["text_in/kernel"], p["text_in/bias"])
    audio = linear(audio, p["audio_in/kernel"], p["audio_in/bias"])
    columns = []
    for sound in audio:
        t, a = text, sound.expand(len(text), -1, -1)
        for _ in range(steps):
            t, a = guided(p, "unit_0/text", t, a, heads), guided(p, "unit_0/audio", a, t, heads)
        vectors = (normalize(linear(x.mean(1), p[f"{side}_out/kernel"]), dim=-1) for side, x in (("text", t), ("audio", a)))
        columns.append(torch.linalg.vecdot(*vectors))
    return torch.stack(columns, dim=1)


def prepare(spec: dict[str, Any]):
    """Loads what our worker wrote, runs once, and reports how far the scores are from ours."""
    torch.set_float32_matmul_precision("highest")  # as on our side
    arrays, device = dict(np.load(spec["shared"])), device_for(spec["ours"]["platform"])
    p = {name.removeprefix("params/"): torch.from_numpy(value) for name, value in arrays.items() if name.startswith("params/")}
    p = {name: (value.T.contiguous() if name.endswith("kernel") else value).to(device) for name, value in p.items()}
    text, audio = (torch.from_numpy(arrays[name]).to(device) for name in ("text", "audio"))
    call = finished(partial(score, p, text, audio, spec["heads"], spec["steps"]), device)
    start = time.perf_counter()
    result = call()
    first_seconds = time.perf_counter() - start
    difference = float(np.abs(result.cpu().numpy() - arrays["result"]).max())
    return call, {"first_seconds": first_seconds, "items": result.numel(), "difference": difference, **describe(device)}


if __name__ == "__main__":
    serve(prepare)
