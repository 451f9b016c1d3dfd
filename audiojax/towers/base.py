"""A network with its weights, ready to be called: what `load_pretrained` gives. The families add methods named after their task."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn


@dataclass(frozen=True, eq=False)
class Tower:
    """A module with the weights of a checkpoint.

    Attributes:
      module: linen module.
      config: its sizes.
      params: variables for `module.apply`: {"params": ..., and "batch_stats": ... where there are any}.
      report: which name of the file each of them came from, and what was ignored.
      source: the file that was read.
      digest: SHA-256 of it.
    """

    module: nn.Module
    config: Any
    params: Mapping[str, Any]
    report: Any
    source: Path
    digest: str

    def __call__(self, *inputs: Any) -> Any:
        """What the module returns in inference."""
        return self.module.apply(self.params, *inputs, train=False)
