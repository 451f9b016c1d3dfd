"""The two blocks of latent-diffusion networks on images: residual convolutions and a transformer over the pixels (arXiv 2112.10752)."""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from audiojax.nn.attention import attention
from audiojax.nn.conv import TORCH_INIT
from audiojax.nn.mlp import Mlp, gelu_exact
from audiojax.nn.norm import GroupNorm
from audiojax.typing import Array

PADDING = ((1, 1), (1, 1))  # torch's padding=1, at any stride; "SAME" pads a stride of 2 at the end alone


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))) + bias))), with a 1x1 convolution of x where the width changes.

    Attributes:
      epsilon: of the norms.
      last_init: first weights of the second convolution; zeros make the block start as the identity.
    """

    features: int
    groups: int = 32
    epsilon: float = 1e-5
    last_init: nn.initializers.Initializer = TORCH_INIT
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], bias: Float[Array, "b d"] | None = None) -> Float[Array, "b h w d"]:
        """Refines an image; `bias` is added to every pixel between the convolutions."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        norm = partial(GroupNorm, self.groups, self.epsilon, **types)
        conv = partial(nn.Conv, self.features, kernel_init=TORCH_INIT, **types)
        y = conv((3, 3), padding=PADDING, name="conv1")(nn.silu(norm(name="norm1")(x)))
        if bias is not None:
            y = y + bias.astype(y.dtype)[:, None, None]
        y = conv((3, 3), padding=PADDING, kernel_init=self.last_init, name="conv2")(nn.silu(norm(name="norm2")(y)))
        if x.shape[-1] != self.features:
            x = conv((1, 1), name="shortcut")(x)
        return x + y


class Memory(NamedTuple):
    """What is attended to, ready for use.

    Attributes:
      key: [b, m, heads, width of a head].
      value: of the same shape.
      mask: [b, m], True = valid; None = all are.
    """

    key: Array
    value: Array
    mask: Array | None = None


class MemoryAttention(nn.Module):
    """Multi-head attention whose keys and values can be computed apart, once for many calls; a bias on the output alone."""

    heads: int
    width: int
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by {self.heads} heads")
        dense = partial(nn.Dense, self.width, kernel_init=TORCH_INIT, dtype=self.dtype, param_dtype=self.param_dtype)
        self.query, self.key, self.value = (dense(use_bias=False) for _ in range(3))
        self.out = dense()

    def memory(self, tokens: Float[Array, "b m k"], mask: Bool[Array, "b m"] | None = None) -> Memory:
        """Keys and values of tokens."""
        return Memory(self._heads(self.key(tokens)), self._heads(self.value(tokens)), mask)

    def __call__(self, x: Float[Array, "b n c"], memory: Memory | None = None) -> Float[Array, "b n d"]:
        """Attends from x to `memory`, to x itself without one."""
        key, value, mask = self.memory(x) if memory is None else memory
        mixed = attention(self._heads(self.query(x)), key, value, mask=None if mask is None else mask[:, None, None, :])
        return self.out(mixed.reshape(x.shape[0], x.shape[1], self.width))

    def _heads(self, x):
        return x.reshape(*x.shape[:-1], self.heads, self.width // self.heads)


class SpatialTransformer(nn.Module):
    """One transformer block over all pixels as tokens, between a norm and two 1x1 convolutions, added to the image.

    x = x + SelfAttention(LN(x)); x = x + Attention(LN(x), memory or x); x = x + GEGLU(LN(x)). The last convolution starts at zero.
    """

    heads: int
    width: int
    groups: int = 32
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = partial(nn.Conv, self.width, (1, 1), **types)
        self.norm = GroupNorm(self.groups, 1e-6, **types)
        self.proj_in, self.proj_out = conv(kernel_init=TORCH_INIT), conv(kernel_init=nn.initializers.zeros)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(epsilon=1e-5, **types) for _ in range(3))
        self.attention1, self.attention2 = (MemoryAttention(self.heads, self.width, **types) for _ in range(2))
        self.mlp = Mlp(4 * self.width, self.width, activation=gelu_exact, gated=True, kernel_init=TORCH_INIT, **types)

    def memory(self, tokens: Float[Array, "b m k"], mask: Bool[Array, "b m"] | None = None) -> Memory:
        """Keys and values of a context for the second attention."""
        return self.attention2.memory(tokens, mask)

    def __call__(self, image: Float[Array, "b h w c"], memory: Memory | None = None, *, train: bool) -> Float[Array, "b h w c"]:
        """Refines an image; without a memory the second attention is one to the image, too."""
        x = self.proj_in(self.norm(image))
        x = x.reshape(x.shape[0], -1, self.width)  # [b, pixels, c], row by row
        x = x + self.attention1(self.norm1(x))
        x = x + self.attention2(self.norm2(x), memory)
        x = x + self.mlp(self.norm3(x), train=train)
        return image + self.proj_out(x.reshape(image.shape))
