"""Scaled dot-product attention: the one place where its form is chosen, and the multi-head module on top of it.

Nobody else writes attention. Arrays enter as [batch, time, heads, features]; masks are boolean, True = valid.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float

from audiojax.typing import Array

NORMAL_002 = nn.initializers.normal(0.02)


def attention(
    q: Float[Array, "b n h d"],
    k: Float[Array, "b m g d"],
    v: Float[Array, "b m g e"],
    *,
    bias: Float[Array, "b|1 h|1 n|1 m"] | None = None,
    mask: Bool[Array, "b|1 h|1 n|1 m"] | None = None,
    scale: float | None = None,
    drop: Callable[[Array], Array] | None = None,
) -> Float[Array, "b n h e"]:
    """Returns softmax(scale * q k^T + bias) v per head; masked keys get weight 0, and a query without a valid key the mean of v.

    Scores and softmax are float32, the products take the dtype of the inputs. Long unmasked half-precision attention runs as cuDNN's
    fused kernel on CUDA; everything else takes the head-major form, which is the fastest on CPU and fuses well on TPU.

    Keys and values may have fewer heads than the queries (grouped-query attention, arXiv 2305.13245): head i of h reads head i // (h / g).

    Args:
      bias: added to the scaled scores; rank 4, size 1 where it broadcasts.
      mask: True = valid; same rank rule.
      scale: of the products q k^T, 1 / sqrt(d) by default.
      drop: applied to the attention weights, for dropout.
    """
    plain = bias is None and mask is None and scale is None and drop is None and q.shape[-1] == v.shape[-1]
    if plain and jax.default_backend() == "gpu" and fits_fused_kernel(q.dtype, q.shape[1], k.shape[1], q.shape[-1]):
        return lax.platform_dependent(q, k, v, cuda=_fused, default=_head_major)
    return _head_major(q, k, v, bias=bias, mask=mask, scale=scale, drop=drop)


def fits_fused_kernel(dtype: jnp.dtype, n: int, m: int, width: int) -> bool:
    """True where cuDNN's fused attention takes the shapes and pays: half precision, at least 256 positions, head width 8, 16, ... 128."""
    return dtype in (jnp.bfloat16, jnp.float16) and min(n, m) >= 256 and width % 8 == 0 and width <= 128


def _fused(q, k, v):
    return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")


def _head_major(q, k, v, *, bias=None, mask=None, scale=None, drop=None):
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))  # [b, h, time, features]; [b, g, time, features]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    shape, grouped = q.shape[:3], (q.shape[0], k.shape[1], -1)  # queries of all heads of a group stand below one another
    scores = jnp.matmul(q.reshape(*grouped, q.shape[-1]), jnp.swapaxes(k, -1, -2), preferred_element_type=jnp.float32)
    scores = scores.reshape(*shape, k.shape[2]) * scale  # [b, h, n, m]
    if bias is not None:
        scores = scores + bias.astype(jnp.float32)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    if drop is not None:
        weights = drop(weights)
    mixed = jnp.matmul(weights.reshape(*grouped, k.shape[2]), v)
    return jnp.swapaxes(mixed.reshape(*shape, v.shape[-1]), 1, 2)


class KeysValues(NamedTuple):
    """What is attended to, projected: `keys` and `values`, [b, heads, m, head_width] each."""

    keys: Array
    values: Array


class MultiHeadAttention(nn.Module):
    """Multi-head attention with separate query, key, value and output projections.

    `project` and `attend` are its two halves, for what is attended to more than once: the keys and values of a sound that every step of a
    sampler reads, or those of the tokens before the present one.

    Attributes:
      heads: number of heads; divides `width` unless `head_width` is given.
      width: features of the output.
      head_width: features of a head; the projections have `heads` times as many. By default width / heads.
      scale: of the scores, 1 / sqrt(head_width) by default.
      dropout: of the attention weights, rng stream "dropout".
      query_init: first weights of the query projection, where they differ from the others'.
    """

    heads: int
    width: int
    head_width: int | None = None
    scale: float | None = None
    dropout: float = 0.0
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = NORMAL_002
    query_init: nn.initializers.Initializer | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        if self.head_width is None and self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by {self.heads} heads")
        inner = self.width if self.head_width is None else self.heads * self.head_width
        linear = partial(nn.Dense, use_bias=self.use_bias, dtype=self.dtype, param_dtype=self.param_dtype)
        self.query = linear(inner, kernel_init=self.query_init or self.kernel_init)
        self.key = linear(inner, kernel_init=self.kernel_init)
        self.value = linear(inner, kernel_init=self.kernel_init)
        self.out = linear(self.width, kernel_init=self.kernel_init)
        self.drop = nn.Dropout(self.dropout, deterministic=False)

    def __call__(
        self,
        x: Float[Array, "b n c"],
        context: Float[Array, "b m k"] | None = None,
        *,
        mask: Bool[Array, "b m"] | None = None,
        bias: Float[Array, "b|1 h|1 n|1 m"] | None = None,
        train: bool,
    ) -> Float[Array, "b n d"]:
        """Attends from x to `context` (to x itself without one); `mask` marks the valid positions of what is attended to."""
        projected = self.project(x if context is None else context)
        return self.attend(x, projected, mask=None if mask is None else mask[:, None, None, :], bias=bias, train=train)

    def project(self, context: Float[Array, "b m k"]) -> KeysValues:
        """Keys and values of a context."""
        return KeysValues(*(jnp.swapaxes(self._heads(linear(context)), 1, 2) for linear in (self.key, self.value)))

    def attend(
        self,
        x: Float[Array, "b n c"],
        projected: KeysValues,
        *,
        mask: Bool[Array, "b|1 h|1 n|1 m"] | None = None,
        bias: Float[Array, "b|1 h|1 n|1 m"] | None = None,
        train: bool,
    ) -> Float[Array, "b n d"]:
        """Attends from x to what `project` returned; `mask` says which key each query may see."""
        k, v = (jnp.swapaxes(part, 1, 2) for part in projected)  # [b, m, h, d]
        drop = self.drop if train and self.dropout else None
        mixed = attention(self._heads(self.query(x)), k, v, bias=bias, mask=mask, scale=self.scale, drop=drop)
        return self.out(mixed.reshape(*mixed.shape[:-2], -1))

    def _heads(self, y):
        return y.reshape(*y.shape[:-1], self.heads, -1)  # [b, time, h, d]
