"""A network with its weights, ready to be called: what `load_pretrained` gives. The families add methods named after their task."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

from audiojax.nn.conv import image_jit


@dataclass(frozen=True, eq=False)
class Tower:
    """A module with the weights of a checkpoint.

    Attributes:
      module: linen module.
      config: its sizes.
      params: variables for `module.apply`: {"params": ..., and "batch_stats": ... where there are any}.
      report: which name of the file each of them came from, and what was ignored; None for a run of audiojax.
      source: the file that was read, or the folder of the run.
      digest: SHA-256 of the file, or a hash of the run's weights and config.
    """

    module: nn.Module
    config: Any
    params: Mapping[str, Any]
    report: Any
    source: Path
    digest: str

    def __call__(self, *inputs: Any) -> Any:
        """What the module returns in inference."""
        return infer(self.module, self.params, *inputs)


@partial(jax.jit, static_argnums=0, static_argnames="method")
def infer(module: nn.Module, params: Mapping[str, Any], *inputs: Any, method: str | None = None) -> Any:
    """What a module, or one of its methods, returns in inference; compiled once for each shape of the inputs."""
    return module.apply(params, *inputs, train=False, method=method)


# The same for networks of images, see `image_jit`.
infer_image = partial(image_jit, static_argnums=0, static_argnames="method")(infer.__wrapped__)
