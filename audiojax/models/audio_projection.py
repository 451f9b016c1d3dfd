"""From the tokens of an audio tower to the context that a captioner reads."""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from audiojax.errors import UsageError
from audiojax.nn.attention import NORMAL_002
from audiojax.nn.embed import sinusoidal_table
from audiojax.nn.transformer import TransformerBlock
from audiojax.typing import Array

FORMS = ("linear", "transformer")
NORM_EPS = 1e-5


@dataclass(frozen=True)
class AudioProjectionConfig:
    """Form and sizes of the projection.

    Attributes:
      width: features of the context.
      form: "linear" is a norm and a linear map. "transformer" is what "DACRLD code src/DiffusionLatentTransformer.py" has: a linear map,
        ReLU, sinusoidal positions, post-norm blocks, and a learned vector that says "this is sound". The fields below are its own.
      hidden: features inside the feed-forward part of a block.
      input_dropout: after the ReLU, in training.
      dropout: of positions, states and attention weights, in training.
    """

    width: int = 768
    form: Literal["linear", "transformer"] = "linear"
    layers: int = 2
    heads: int = 8
    hidden: int = 2048
    input_dropout: float = 0.2
    dropout: float = 0.1

    def __post_init__(self):
        if self.form not in FORMS:
            raise UsageError(f"form {self.form!r} of the audio projection: one of {', '.join(FORMS)}")


class AudioProjection(nn.Module):
    """Maps tokens [b, m, a] to the context [b, m, width]. A masked token reaches nothing and comes out as 0."""

    config: AudioProjectionConfig = AudioProjectionConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, "b m a"], mask: Bool[Array, "b m"], *, train: bool) -> Float[Array, "b m k"]:
        """Projects the tokens where `mask` is True; the others may hold anything, NaN included.

        Args:
          tokens: of an audio tower; all 0 where a captioner is to write without hearing.
          train: switches dropout on (rng stream "dropout").
        """
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = jnp.where(mask[..., None], tokens, 0)
        if self.config.form == "linear":
            x = nn.LayerNorm(NORM_EPS, name="norm", **types)(x)
            x = nn.Dense(self.config.width, kernel_init=NORMAL_002, name="project", **types)(x)
        else:
            x = self._encode(x, mask, train, types)
        return jnp.where(mask[..., None], x, 0)

    def _encode(self, x, mask, train, types):
        c = self.config
        x = jax.nn.relu(nn.Dense(c.width, kernel_init=NORMAL_002, name="project", **types)(x))
        x = nn.Dropout(c.input_dropout, deterministic=not train)(x)
        positions = jnp.asarray(sinusoidal_table(x.shape[1], c.width), self.dtype)[None]
        x = nn.Dropout(c.dropout, deterministic=not train)(x * c.width**0.5 + positions)
        sizes = {"dropout": c.dropout, "attention_dropout": c.dropout, "mlp_dropout": c.dropout, "norm_eps": NORM_EPS}
        for i in range(c.layers):
            block = TransformerBlock(c.width, c.heads, c.hidden, activation=jax.nn.relu, name=f"layer_{i}", **sizes, **types)
            x = block(x, mask=mask[:, None, None, :], train=train)
        kind = self.param("kind", NORMAL_002, (c.width,), self.param_dtype)
        return x + kind.astype(self.dtype)[None, None]
