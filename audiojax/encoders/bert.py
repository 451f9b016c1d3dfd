"""BERT and RoBERTa, text towers: post-norm transformer encoders over token ids (arXiv 1810.04805, arXiv 1907.11692).

`BertEncoder(config)` returns the last hidden state of every token; DiffATR reads position 0, the [CLS] token, and no pooler. RoBERTa is
the same network with another vocabulary, one segment and positions that count from its padding id; CLAP's text tower is "roberta-base" with
the pooler and `norm_eps=1e-12`. `MaskedLmHead` turns the states into logits over the vocabulary, for training a tower on text alone.
Layers are unrolled: on CPU that is faster than a scan over stacked weights, and it compiles in under half a second.
"""

from dataclasses import dataclass, replace
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
    """Sizes of a BERT or RoBERTa encoder; the defaults are bert-base-uncased.

    Attributes:
      vocab_size: rows of the word table.
      width: features of a token.
      hidden: features inside the feed-forward part.
      max_positions: rows of the position table.
      padding_id: None where token p of a row reads position p, whatever is padding (BERT). An id where the tokens of a row are counted
        from `padding_id` + 1 and padding reads row `padding_id` (RoBERTa: the first token has position 2).
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
    padding_id: int | None = None
    segments: int = 2
    pooler: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12

    @property
    def max_length(self) -> int:
        """Longest sequence, tokens."""
        return self.max_positions if self.padding_id is None else self.max_positions - self.padding_id - 1


_ROBERTA = BertConfig(vocab_size=50_265, max_positions=514, padding_id=1, segments=1, norm_eps=1e-5)
PRESETS = {
    "base": BertConfig(),
    "large": BertConfig(width=1024, layers=24, heads=16, hidden=4096),
    "tiny": BertConfig(vocab_size=1_000, width=128, layers=2, heads=4, hidden=256, max_positions=128),
    "roberta-base": _ROBERTA,
    "roberta-large": replace(_ROBERTA, width=1024, layers=24, heads=16, hidden=4096),
    "roberta-tiny": replace(_ROBERTA, vocab_size=1_000, width=128, layers=2, heads=4, hidden=256, max_positions=130),
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
    """Embeddings, `layers` blocks and, if asked for, the pooler. Weights start as N(0, 0.02), biases as 0.

    `lower` and `upper` are the same network cut in two, on the same parameters: upper(lower(ids)) are the tokens of a call.
    """

    config: BertConfig = BertConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def table(rows: int) -> nn.Embed:
            return nn.Embed(rows, c.width, embedding_init=NORMAL_002, **types)

        self.word, self.position, self.segment = table(c.vocab_size), table(c.max_positions), table(c.segments)
        self.norm = nn.LayerNorm(epsilon=c.norm_eps, **types)
        self.drop = nn.Dropout(c.dropout)
        self.layer = [BertLayer(c, **types) for _ in range(c.layers)]
        if c.pooler:
            self.pooler = nn.Dense(c.width, kernel_init=NORMAL_002, **types)

    def __call__(
        self, ids: Int[Array, "b l"], mask: Bool[Array, "b l"], segments: Int[Array, "b l"] | None = None, *, train: bool
    ) -> BertOutput:
        """Encodes token ids; states at positions where `mask` is False are finite but meaningless.

        Args:
          ids: 0 <= ids < vocab_size, l <= config.max_length (ValueError otherwise).
          mask: True = token, False = padding.
          segments: segment of each token, 0 by default.
          train: switches dropout on (rng stream "dropout").
        """
        x = self.lower(ids, mask, segments, layers=self.config.layers, train=train)
        return BertOutput(x, jax.nn.tanh(self.pooler(x[:, 0])) if self.config.pooler else None)

    def lower(
        self, ids: Int[Array, "b l"], mask: Bool[Array, "b l"], segments: Int[Array, "b l"] | None = None, *, layers: int, train: bool
    ) -> Float[Array, "b l d"]:
        """The states after the embeddings and the first `layers` blocks; the rest as in a call."""
        c, length = self.config, ids.shape[1]
        if length > c.max_length:
            raise ValueError(f"{length} tokens, but this BERT has {c.max_length} positions: truncate in the tokenizer")
        positions = jnp.arange(length)[None]  # [1, l]
        if c.padding_id is not None:
            positions = jnp.cumsum(mask, axis=1) * mask + c.padding_id  # [b, l]
        x = self.word(ids) + self.position(positions)
        x = x + self.segment(jnp.zeros_like(ids) if segments is None else segments)
        x = self.drop(self.norm(x), deterministic=not train)
        for block in self.layer[:layers]:
            x = block(x, mask, train=train)
        return x

    def upper(self, states: Float[Array, "b l d"], mask: Bool[Array, "b l"], *, first: int, train: bool) -> Float[Array, "b l d"]:
        """The states after the blocks from number `first` on, given those in front of them."""
        for block in self.layer[first:]:
            states = block(states, mask, train=train)
        return states


class MaskedLmHead(nn.Module):
    """Logits over the vocabulary: LN(gelu(dense(x))) word_table^T + bias, where the table is that of the encoder ("tied").

    The logits are float32. They are large, [.., vocab_size], so pass the states of masked positions alone where only those are scored.
    """

    config: BertConfig = BertConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, states: Float[Array, "*b d"], word_table: Float[Array, "v d"]) -> Float[Array, "*b v"]:
        """Scores every entry of the vocabulary; `word_table` is the encoder's parameter word/embedding."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = gelu_exact(nn.Dense(c.width, kernel_init=NORMAL_002, name="dense", **types)(states))
        x = nn.LayerNorm(epsilon=c.norm_eps, name="norm", **types)(x)
        bias = self.param("bias", nn.initializers.zeros, (c.vocab_size,), self.param_dtype)
        logits = jnp.einsum("...d,vd->...v", x, word_table.astype(self.dtype), preferred_element_type=jnp.float32)
        return logits + jnp.expand_dims(bias.astype(jnp.float32), range(logits.ndim - 1))
