"""Root-mean-square normalisation, T5's and LLaMA's layer norm."""

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
