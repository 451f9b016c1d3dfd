"""Low-rank adaptation of frozen linear maps (LoRA, arXiv 2106.09685).

A map x W becomes x W + (alpha / rank) * drop(x) A B. A and B lie beside the kernel as "lora_a" and "lora_b", so that the regex `LORA`
selects what trains. B starts at 0: a fresh adapter changes nothing.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Float

from audiojax.nn.attention import NORMAL_002
from audiojax.typing import Array, Params

LORA = r"lora_(a|b)$"  # searched in paths of parameters
FIRST_A = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # between -1 and 1 over the root of the fan-in, as in peft


@dataclass(frozen=True)
class Lora:
    """What is adapted and how; the defaults are DRCap's ("SLAM-LLM code", drcap_zeroshot_aac).

    Attributes:
      rank: columns of A and rows of B.
      alpha: the product is multiplied by alpha / rank.
      dropout: of the input of A, in training (rng stream "dropout").
      targets: names of the adapted maps, such as "query", "value", "out", "gate".
    """

    rank: int = 8
    alpha: float = 32.0
    dropout: float = 0.05
    targets: tuple[str, ...] = ("query", "value")

    @property
    def scale(self) -> float:
        """What multiplies the product A B."""
        return self.alpha / self.rank


class LoraDense(nn.Module):
    """A linear map with its adapter. The parameters of the map itself are those of `nn.Dense`.

    A and B are stored in float32 beside weights of any type: the small updates of training would be lost in bfloat16.

    Attributes:
      train: whether dropout acts.
    """

    features: int
    lora: Lora
    train: bool
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = NORMAL_002
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
        """Maps the last axis."""
        width, rank = x.shape[-1], self.lora.rank
        x = x.astype(self.dtype)
        y = x @ self._param("kernel", self.kernel_init, (width, self.features))
        if self.use_bias:
            y = y + jnp.expand_dims(self._param("bias", nn.initializers.zeros, (self.features,)), range(y.ndim - 1))
        a = self.param("lora_a", FIRST_A, (width, rank), jnp.float32).astype(self.dtype)
        b = self.param("lora_b", nn.initializers.zeros, (rank, self.features), jnp.float32).astype(self.dtype)
        x = nn.Dropout(self.lora.dropout, deterministic=not self.train)(x)
        return y + x @ a @ b * jnp.asarray(self.lora.scale, self.dtype)

    def _param(self, name, init, shape):
        return self.param(name, init, shape, self.param_dtype).astype(self.dtype)


def dense(features: int, name: str, lora: Lora | None, *, train: bool, **options: Any) -> nn.Module:
    """The linear map `name` of a network: adapted where `lora` targets it, a plain `nn.Dense` elsewhere.

    Args:
      options: the fields that both have: use_bias, kernel_init, dtype, param_dtype.
    """
    if lora is None or name not in lora.targets:
        return nn.Dense(features, name=name, **options)
    return LoraDense(features, lora, train, name=name, **options)


def merge_lora(params: Params, lora: Lora) -> dict[str, Any]:
    """The parameters of the same network without adapters, their products added to the kernels in float32."""
    flat = traverse_util.flatten_dict(dict(params))
    merged = {path: leaf for path, leaf in flat.items() if path[-1] not in ("lora_a", "lora_b")}
    for path, a in flat.items():
        if path[-1] == "lora_a":
            kernel, b = flat[(*path[:-1], "kernel")], flat[(*path[:-1], "lora_b")]
            product = jnp.matmul(a.astype(jnp.float32), b.astype(jnp.float32), precision="highest")
            merged[(*path[:-1], "kernel")] = (kernel.astype(jnp.float32) + lora.scale * product).astype(kernel.dtype)
    return traverse_util.unflatten_dict(merged)
