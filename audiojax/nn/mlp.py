"""Two-layer perceptrons: the feed-forward part of a transformer and the head that projects a tower into the joint space."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from audiojax.nn.lora import Lora, dense
from audiojax.typing import Array


def gelu_exact(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """x * Phi(x) with the error function, not its tanh approximation."""
    return jax.nn.gelu(x, approximate=False)


class Mlp(nn.Module):
    """Linear to `hidden`, activation, dropout, linear to `width`; gated: the activation of a second linear map multiplies the first.

    With `activation=jax.nn.relu` and the default Xavier weights it is the projection head of the retrieval towers
    ("XinhaoMei/audio-text_retrieval code": 2048 -> 2048 -> 1024); BERT's feed-forward part takes `gelu_exact` and N(0, 0.02).
    Without biases and gated, down(activation(gate(x)) * up(x)), it is the feed-forward part of arXiv 2002.05202 (GEGLU, SwiGLU).

    Attributes:
      gated: whether there is a "gate" beside "up".
      dropout: after the activation, rng stream "dropout".
      down_dtype: computes the last linear map and is what it returns; `dtype` by default.
      lora: adapters of "gate", "up" and "down", whichever it targets.
    """

    hidden: int
    width: int
    activation: Callable[[Array], Array] = jax.nn.relu
    dropout: float = 0.0
    gated: bool = False
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32
    down_dtype: jnp.dtype | None = None
    lora: Lora | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], *, train: bool) -> Float[Array, "*b d"]:
        """Maps the last axis."""
        gate = self._dense(self.hidden, "gate", self.dtype, train)(x) if self.gated else None
        up = self._dense(self.hidden, "up", self.dtype, train)(x)
        x = self.activation(up) if gate is None else self.activation(gate) * up
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return self._dense(self.width, "down", self.dtype if self.down_dtype is None else self.down_dtype, train)(x)

    def _dense(self, features, name, dtype, train):
        types = {"dtype": dtype, "param_dtype": self.param_dtype}
        return dense(features, name, self.lora, train=train, use_bias=self.use_bias, kernel_init=self.kernel_init, **types)
