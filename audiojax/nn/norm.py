"""Normalisation: root-mean-square, which is T5's and LLaMA's layer norm, and groups of channels, which images take."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from audiojax.typing import Array


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * scale over the last axis (arXiv 1910.07467): no mean is taken off, nothing is added.

    Computed in float32 whatever x is, and returned in `dtype`.
    """

    epsilon: float = 1e-6
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Normalises every vector by itself."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], self.param_dtype).astype(jnp.float32)
        x = x.astype(jnp.float32)
        x = x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + self.epsilon)
        return (x * jnp.expand_dims(scale, range(x.ndim - 1))).astype(self.dtype)


class GroupNorm(nn.Module):
    """Every group of neighbouring channels brought to mean 0 and variance 1 over all positions of an example, then scale and bias.

    One multiply-add with a factor and an offset per channel, worked out in float32 from the means of x and x^2 over the positions.

    Attributes:
      groups: divides the channels (ValueError).
    """

    groups: int = 32
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *s c"]:
        """Normalises every example by itself; channels are the last axis."""
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(f"{channels} channels do not divide into {self.groups} groups")
        scale = self.param("scale", nn.initializers.ones, (channels,), self.param_dtype).astype(jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), self.param_dtype).astype(jnp.float32)
        x, positions = x.astype(jnp.float32), tuple(range(1, x.ndim - 1))

        def over_groups(values):  # [b, c] -> [b, c], the mean of its group in each channel
            means = jnp.mean(values.reshape(-1, self.groups, channels // self.groups), axis=-1)
            return jnp.repeat(means, channels // self.groups, axis=-1)

        mean = over_groups(jnp.mean(x, axis=positions))
        variance = jnp.maximum(over_groups(jnp.mean(x * x, axis=positions)) - mean * mean, 0)
        factor = lax.rsqrt(variance + self.epsilon) * scale[None]
        offset = bias[None] - mean * factor
        return (x * jnp.expand_dims(factor, positions) + jnp.expand_dims(offset, positions)).astype(self.dtype)
