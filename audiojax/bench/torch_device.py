"""Where the torch workers of the bench run, and when their calls have ended. Imports no jax."""

from collections.abc import Callable
from typing import Any

import torch


def device_for(platform: str) -> torch.device:
    """The GPU where our side runs on one (`platform` "gpu") and torch has one too, else the CPU."""
    return torch.device("cuda" if platform == "gpu" and torch.cuda.is_available() else "cpu")


def describe(device: torch.device) -> dict[str, str]:
    """The device as a bench row names it."""
    if device.type == "cuda":
        return {"platform": "gpu", "device": torch.cuda.get_device_name(device)}
    return {"platform": device.type, "device": device.type}


def finished(function: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """`function`, returning when the device has done its work and not when it has queued it."""

    def call() -> Any:
        result = function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return result

    return call
