"""T5's encoder, a text tower: pre-norm transformer with relative positions and no biases (arXiv 1910.10683; FLAN-T5: arXiv 2210.11416).

`T5Encoder(config)` returns the normalised last hidden state of every token. AudioLDM 2's layout, the one Re-AudioLDM takes, reads
"flan-t5-large". Scores are not divided by the root of the head width; block 0's table of relative positions serves every block.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from audiojax.nn.attention import MultiHeadAttention
from audiojax.nn.embed import relative_buckets
from audiojax.nn.mlp import Mlp
from audiojax.nn.norm import RmsNorm
from audiojax.typing import Array

FAN_IN = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


@dataclass(frozen=True)
class T5Config:
    """Sizes of a T5 encoder; the defaults are t5-base.

    Attributes:
      vocab_size: rows of the word table; the published ones are padded beyond the tokenizer's vocabulary.
      width: features of a token.
      head_width: features of a head; heads * head_width need not be `width`.
      hidden: features inside the feed-forward part.
      gated: False for ReLU (T5 1.0), True for the tanh form of GELU times a linear map (T5 1.1, FLAN-T5).
      buckets: rows of the table of relative positions.
      max_distance: distance in tokens from which on all positions look the same.
      dropout: of hidden states and attention weights, in training.
    """

    vocab_size: int = 32_128
    width: int = 768
    layers: int = 12
    heads: int = 12
    head_width: int = 64
    hidden: int = 3072
    gated: bool = False
    buckets: int = 32
    max_distance: int = 128
    dropout: float = 0.1
    norm_eps: float = 1e-6


_FLAN = T5Config(hidden=2048, gated=True)
PRESETS = {
    "t5-small": T5Config(width=512, layers=6, heads=8, hidden=2048),
    "t5-base": T5Config(),
    "t5-large": T5Config(width=1024, layers=24, heads=16, hidden=4096),
    "t5-3b": T5Config(width=1024, layers=24, heads=32, head_width=128, hidden=16_384),
    "flan-t5-small": replace(_FLAN, width=512, layers=8, heads=6, hidden=1024),
    "flan-t5-base": _FLAN,
    "flan-t5-large": replace(_FLAN, width=1024, layers=24, heads=16, hidden=2816),
    "flan-t5-xl": replace(_FLAN, width=2048, layers=24, heads=32, hidden=5120),
    "tiny": replace(_FLAN, vocab_size=1_000, width=128, layers=2, heads=4, head_width=32, hidden=256),
}


class T5Layer(nn.Module):
    """One pre-norm block on a float32 stream: x = x + drop(MHA(norm(x))); x = x + drop(FFN(norm(x))).

    In float16 the last map of the feed-forward part runs in float32, because its products leave that format's range in the FLAN models.
    """

    config: T5Config
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b l d"], mask: Bool[Array, "b l"], bias: Float[Array, "1 h l l"], *, train: bool
    ) -> Float[Array, "b l d"]:
        """Refines the token states; only positions where `mask` is True are attended to."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        attention, feed_forward = t5_attention(c, "attention", types), t5_feed_forward(c, types)
        drop = nn.Dropout(c.dropout, deterministic=not train)
        normed = RmsNorm(c.norm_eps, name="attention_norm", **types)(x)
        x = x + drop(attention(normed, mask=mask, bias=bias, train=train).astype(jnp.float32))
        normed = RmsNorm(c.norm_eps, name="mlp_norm", **types)(x)
        return x + drop(feed_forward(normed, train=train).astype(jnp.float32))


class T5Encoder(nn.Module):
    """Word table, relative positions, `layers` blocks and a last norm. Weights start as T5's: N(0, 1 / fan_in), words N(0, 1)."""

    config: T5Config = T5Config()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, ids: Int[Array, "b l"], mask: Bool[Array, "b l"], *, train: bool) -> Float[Array, "b l d"]:
        """Encodes token ids of any length; states at positions where `mask` is False are finite but meaningless.

        Args:
          ids: 0 <= ids < vocab_size, each sequence ending in the tokenizer's </s>.
          mask: True = token, False = padding.
          train: switches dropout on (rng stream "dropout").
        """
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        drop = nn.Dropout(c.dropout, deterministic=not train)

        bias = relative_bias(c, ids.shape[1], self.param_dtype)
        first = nn.initializers.normal(1.0)
        word = nn.Embed(c.vocab_size, c.width, embedding_init=first, param_dtype=self.param_dtype, name="word")
        x = drop(word(ids).astype(jnp.float32))
        for i in range(c.layers):
            x = T5Layer(c, name=f"layer_{i}", **types)(x, mask, bias, train=train)
        return drop(RmsNorm(c.norm_eps, name="norm", **types)(x))


def t5_attention(config: T5Config, name: str, types: Mapping[str, Any]) -> MultiHeadAttention:
    """The attention of a block, whose scores are not scaled: the first weights of the queries are small instead."""
    return MultiHeadAttention(
        config.heads,
        config.width,
        head_width=config.head_width,
        scale=1.0,
        dropout=config.dropout,
        use_bias=False,
        kernel_init=FAN_IN,
        query_init=nn.initializers.variance_scaling(1 / config.head_width, "fan_in", "normal"),
        name=name,
        **types,
    )


def t5_feed_forward(config: T5Config, types: Mapping[str, Any]) -> Mlp:
    """The feed-forward part of a block, "mlp"."""
    return Mlp(
        config.hidden,
        config.width,
        activation=jax.nn.gelu if config.gated else jax.nn.relu,  # jax.nn.gelu is the tanh form
        dropout=config.dropout,
        gated=config.gated,
        use_bias=False,
        kernel_init=FAN_IN,
        down_dtype=jnp.float32 if types["dtype"] == jnp.float16 else None,
        name="mlp",
        **types,
    )


def relative_bias(config: T5Config, length: int, param_dtype: jnp.dtype, *, causal: bool = False) -> Float[Array, "1 h l l"]:
    """What is added to the scores of every pair of positions, from the table "relative_position" of the module that asks.

    `causal` is for a decoder: its table looks back alone, and positions after the query get the lowest float32.
    """
    first = nn.initializers.normal(config.width**-0.5)
    table = nn.Embed(config.buckets, config.heads, embedding_init=first, param_dtype=param_dtype, name="relative_position")
    by_key = table(relative_buckets(length, config.buckets, config.max_distance, causal=causal))
    bias = jnp.transpose(by_key, (2, 0, 1))[None].astype(jnp.float32)  # [1, h, query, key]
    seen = np.tri(length, dtype=bool)[None, None]
    return jnp.where(seen, bias, jnp.finfo(jnp.float32).min) if causal else bias
