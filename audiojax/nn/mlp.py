"""Two-layer perceptrons: the feed-forward part of a transformer and the head that projects a tower into the joint space."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from audiojax.typing import Array


def gelu_exact(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """x * Phi(x) with the error function, not its tanh approximation."""
    return jax.nn.gelu(x, approximate=False)


class Mlp(nn.Module):
    """Linear to `hidden`, activation, dropout, linear to `width`.

    With `activation=jax.nn.relu` and the default Xavier weights it is the projection head of the retrieval towers
    ("XinhaoMei/audio-text_retrieval code": 2048 -> 2048 -> 1024); BERT's feed-forward part takes `gelu_exact` and N(0, 0.02).

    Attributes:
      dropout: after the activation, rng stream "dropout".
    """

    hidden: int
    width: int
    activation: Callable[[Array], Array] = jax.nn.relu
    dropout: float = 0.0
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], *, train: bool) -> Float[Array, "*b d"]:
        """Maps the last axis."""
        x = self.activation(self._dense(self.hidden, "up")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return self._dense(self.width, "down")(x)

    def _dense(self, features, name):
        return nn.Dense(features, kernel_init=self.kernel_init, dtype=self.dtype, param_dtype=self.param_dtype, name=name)
