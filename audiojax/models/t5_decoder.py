"""T5's decoder: what turns its encoder into a model that writes, and what trains the encoder by span corruption (arXiv 1910.10683).

`T5Decoder(config)` reads the encoder's states and the tokens written so far, and scores the next one. Its word table is the encoder's; its
output map is its own, as in T5 1.1 and FLAN-T5.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from audiojax.encoders.t5 import FAN_IN, T5Config, relative_bias, t5_attention, t5_feed_forward
from audiojax.nn.norm import RmsNorm
from audiojax.typing import Array


class T5DecoderLayer(nn.Module):
    """One pre-norm block on a float32 stream: attention to the tokens before, attention to the encoder, feed-forward part."""

    config: T5Config
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t d"],
        states: Float[Array, "b l d"],
        mask: Bool[Array, "b l"],
        bias: Float[Array, "1 h t t"],
        *,
        train: bool,
    ) -> Float[Array, "b t d"]:
        """Refines the token states; `bias` keeps them from what comes after, `mask` from the encoder's padding."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        own, cross, feed_forward = t5_attention(c, "attention", types), t5_attention(c, "cross", types), t5_feed_forward(c, types)
        drop = nn.Dropout(c.dropout, deterministic=not train)
        normed = RmsNorm(c.norm_eps, name="attention_norm", **types)(x)
        x = x + drop(own(normed, bias=bias, train=train).astype(jnp.float32))
        normed = RmsNorm(c.norm_eps, name="cross_norm", **types)(x)
        x = x + drop(cross(normed, states, mask=mask, train=train).astype(jnp.float32))
        normed = RmsNorm(c.norm_eps, name="mlp_norm", **types)(x)
        return x + drop(feed_forward(normed, train=train).astype(jnp.float32))


class T5Decoder(nn.Module):
    """Causal relative positions, `layers` blocks, a last norm and the output map."""

    config: T5Config = T5Config()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "b t"],
        states: Float[Array, "b l d"],
        mask: Bool[Array, "b l"],
        word_table: Float[Array, "v d"],
        *,
        train: bool,
    ) -> Float[Array, "b t v"]:
        """Scores of every token of the vocabulary at every position, float32.

        Args:
          ids: tokens before the scored ones, the padding id first: ids[:, 0] is what the first score is made from.
          states: of the encoder.
          mask: True = token of the encoder's text, False = padding.
          word_table: the encoder's parameter word/embedding.
          train: switches dropout on (rng stream "dropout").
        """
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        drop = nn.Dropout(c.dropout, deterministic=not train)
        bias = relative_bias(c, ids.shape[1], self.param_dtype, causal=True)
        x = drop(jnp.take(word_table, ids, axis=0).astype(jnp.float32))
        for i in range(c.layers):
            x = T5DecoderLayer(c, name=f"layer_{i}", **types)(x, states, mask, bias, train=train)
        x = drop(RmsNorm(c.norm_eps, name="norm", **types)(x))
        return nn.Dense(c.vocab_size, use_bias=False, kernel_init=FAN_IN, name="head", **types)(x).astype(jnp.float32)
