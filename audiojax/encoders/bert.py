"""BERT, the text tower: post-norm transformer encoder over WordPiece ids (arXiv 1810.04805).

`BertEncoder(config)` returns the last hidden state of every token; DiffATR reads position 0, the [CLS] token, and no pooler.
Layers are unrolled: on CPU that is faster than a scan over stacked weights, and it compiles in under half a second.
"""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from audiojax.nn.attention import NORMAL_002, MultiHeadAttention
from audiojax.nn.mlp import Mlp, gelu_exact
from audiojax.typing import Array


@dataclass(frozen=True)
class BertConfig:
    """Sizes of a BERT encoder; the defaults are bert-base-uncased.

    Attributes:
      vocab_size: rows of the word table.
      width: features of a token.
      hidden: features inside the feed-forward part.
      max_positions: longest sequence, tokens.
      segments: rows of the segment table; single sentences use row 0.
      pooler: whether to add the tanh layer on top of position 0.
      dropout: of hidden states, in training.
      attention_dropout: of attention weights, in training.
    """

    vocab_size: int = 30_522
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    max_positions: int = 512
    segments: int = 2
    pooler: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12


PRESETS = {
    "base": BertConfig(),
    "large": BertConfig(width=1024, layers=24, heads=16, hidden=4096),
    "tiny": BertConfig(vocab_size=1_000, width=128, layers=2, heads=4, hidden=256, max_positions=128),
}


class BertOutput(NamedTuple):
    """What the tower returns: `tokens` [b, l, width], and `pooled` [b, width] or None without a pooler."""

    tokens: Array
    pooled: Array | None


class BertLayer(nn.Module):
    """One post-norm block: x = LN(x + drop(MHA(x))); x = LN(x + drop(FFN(x)))."""

    config: BertConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b l d"], mask: Bool[Array, "b l"], *, train: bool) -> Float[Array, "b l d"]:
        """Refines the token states; only positions where `mask` is True are attended to."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        drop = nn.Dropout(c.dropout, deterministic=not train)
        attended = MultiHeadAttention(c.heads, c.width, dropout=c.attention_dropout, name="attention", **types)(x, mask=mask, train=train)
        x = nn.LayerNorm(epsilon=c.norm_eps, name="attention_norm", **types)(x + drop(attended))
        fed = Mlp(c.hidden, c.width, activation=gelu_exact, kernel_init=NORMAL_002, name="mlp", **types)(x, train=train)
        return nn.LayerNorm(epsilon=c.norm_eps, name="mlp_norm", **types)(x + drop(fed))


class BertEncoder(nn.Module):
    """Embeddings, `layers` blocks and, if asked for, the pooler. Weights start as N(0, 0.02), biases as 0."""

    config: BertConfig = BertConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, ids: Int[Array, "b l"], mask: Bool[Array, "b l"], segments: Int[Array, "b l"] | None = None, *, train: bool
    ) -> BertOutput:
        """Encodes token ids; states at positions where `mask` is False are finite but meaningless.

        Args:
          ids: 0 <= ids < vocab_size, l <= max_positions (ValueError otherwise).
          mask: True = token, False = padding.
          segments: segment of each token, 0 by default.
          train: switches dropout on (rng stream "dropout").
        """
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        length = ids.shape[1]
        if length > c.max_positions:
            raise ValueError(f"{length} tokens, but this BERT has {c.max_positions} positions: truncate in the tokenizer")

        def table(rows, name):
            return nn.Embed(rows, c.width, embedding_init=NORMAL_002, name=name, **types)

        x = table(c.vocab_size, "word")(ids)
        x = x + table(c.max_positions, "position")(jnp.arange(length))[None]
        x = x + table(c.segments, "segment")(jnp.zeros_like(ids) if segments is None else segments)
        x = nn.LayerNorm(epsilon=c.norm_eps, name="norm", **types)(x)
        x = nn.Dropout(c.dropout, deterministic=not train)(x)
        for i in range(c.layers):
            x = BertLayer(c, name=f"layer_{i}", **types)(x, mask, train=train)
        pooled = None
        if c.pooler:
            pooled = jax.nn.tanh(nn.Dense(c.width, kernel_init=NORMAL_002, name="pooler", **types)(x[:, 0]))
        return BertOutput(x, pooled)
