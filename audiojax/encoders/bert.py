"""BERT and RoBERTa, text towers: post-norm transformer encoders over token ids (arXiv 1810.04805, arXiv 1907.11692).

`BertEncoder(config)` returns the last hidden state of every token; DiffATR reads position 0, the [CLS] token, and no pooler. RoBERTa is
the same network with another vocabulary, one segment and positions that count from its padding id; CLAP's text tower is "roberta-base" with
the pooler and `norm_eps=1e-12`. `MaskedLmHead` turns the states into logits over the vocabulary, for training a tower on text alone;
`BertClassifier` labels texts. Layers are unrolled: on CPU that is faster than a scan over stacked weights, and it compiles in under half a
second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from audiojax.nn.attention import NORMAL_002
from audiojax.nn.mlp import gelu_exact
from audiojax.nn.transformer import TransformerBlock
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
        rates = {"dropout": c.dropout, "attention_dropout": c.attention_dropout}
        self.layer = [TransformerBlock(c.width, c.heads, c.hidden, norm_eps=c.norm_eps, **rates, **types) for _ in range(c.layers)]
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
        return _through(self.layer[:layers], x, mask, train).astype(self.dtype)

    def upper(self, states: Float[Array, "b l d"], mask: Bool[Array, "b l"], *, first: int, train: bool) -> Float[Array, "b l d"]:
        """The states after the blocks from number `first` on, given those in front of them."""
        return _through(self.layer[first:], states, mask, train).astype(self.dtype)


def _through(
    blocks: Sequence[TransformerBlock], states: Float[Array, "b l d"], mask: Bool[Array, "b l"], train: bool
) -> Float[Array, "b l d"]:
    """The states after some blocks; only positions where `mask` is True are attended to."""
    for block in blocks:
        states = block(states, mask=mask[:, None, None, :], train=train)
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


class BertClassifier(nn.Module):
    """Logits of `classes` labels that a text may have, each by itself: a linear layer on the state of position 0."""

    config: BertConfig = BertConfig()
    classes: int = 2
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, ids: Int[Array, "b l"], mask: Bool[Array, "b l"], *, train: bool) -> Float[Array, "b c"]:
        """Classifies token ids, float32 logits; arguments as for `BertEncoder`."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        first = BertEncoder(self.config, name="encoder", **types)(ids, mask, train=train).tokens[:, 0]
        first = nn.Dropout(self.config.dropout, deterministic=not train)(first)
        return nn.Dense(self.classes, kernel_init=NORMAL_002, name="classifier", **types)(first).astype(jnp.float32)
