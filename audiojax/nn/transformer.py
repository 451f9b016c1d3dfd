"""The post-norm transformer block of BERT with attention to a second sequence, whose keys and values are projected once."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Int

from audiojax.nn.attention import NORMAL_002, KeysValues, MultiHeadAttention
from audiojax.nn.mlp import Mlp, gelu_exact
from audiojax.typing import Array

Memory = tuple[KeysValues, ...]  # of every layer of a network


class TransformerBlock(nn.Module):
    """x = LN(x + drop(self-attention(x))); x = LN(x + drop(attention(x, memory))); x = LN(x + drop(FFN(x))).

    The memory is `memory(context)`: keys and values of a sequence of any width, made once and read by every later call. Without one the
    second step is left out, and the block is an encoder's. Rows of x may outnumber those of the memory, r to one: row i of x reads row
    i // r of it, and nothing is copied.

    Attributes:
      hidden: features inside the feed-forward part.
      dropout: of what each step adds, in training.
      attention_dropout: of attention weights, in training.
      mlp_dropout: inside the feed-forward part, in training.
    """

    width: int
    heads: int
    hidden: int
    dropout: float = 0.1
    attention_dropout: float = 0.1
    mlp_dropout: float = 0.0
    activation: Callable[[Array], Array] = gelu_exact
    norm_eps: float = 1e-12
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.attention = MultiHeadAttention(self.heads, self.width, dropout=self.attention_dropout, **types)
        self.attention_norm = nn.LayerNorm(self.norm_eps, **types)
        self.cross = MultiHeadAttention(self.heads, self.width, dropout=self.attention_dropout, **types)
        self.cross_norm = nn.LayerNorm(self.norm_eps, **types)
        self.mlp = Mlp(self.hidden, self.width, activation=self.activation, dropout=self.mlp_dropout, kernel_init=NORMAL_002, **types)
        self.mlp_norm = nn.LayerNorm(self.norm_eps, **types)
        self.drop = nn.Dropout(self.dropout)

    def memory(self, context: Float[Array, "b m k"]) -> KeysValues:
        """Keys and values of the second sequence."""
        return self.cross.project(context)

    def __call__(
        self,
        x: Float[Array, "b n d"],
        memory: KeysValues | None = None,
        memory_mask: Bool[Array, "r m"] | None = None,
        *,
        mask: Bool[Array, "b|1 1 n|1 n"] | None = None,
        train: bool,
    ) -> Float[Array, "b n d"]:
        """Refines the states.

        Args:
          memory: of r rows, where r divides b (ValueError otherwise); None for no second sequence.
          memory_mask: True = valid position of the memory; all by default.
          mask: which position each position may see; all by default.
          train: switches dropout on (rng stream "dropout").
        """
        attended = self.attention.attend(x, self.attention.project(x), mask=mask, train=train)
        return self._finish(x, attended, memory, memory_mask, train)

    def step(
        self,
        x: Float[Array, "b n d"],
        stored: KeysValues,
        slot: int | Int[Array, ""],
        memory: KeysValues | None = None,
        memory_mask: Bool[Array, "r m"] | None = None,
    ) -> tuple[Float[Array, "b n d"], KeysValues]:
        """(states of the positions `slot`, slot + 1, ..., keys and values with theirs put in): causal, without dropout.

        Args:
          stored: keys and values of the positions before, [b, heads, slots, head_width] each; slots from `slot` on are not read.
        """
        new = self.attention.project(x)
        stored = KeysValues(*(lax.dynamic_update_slice(old, part, (0, 0, slot, 0)) for old, part in zip(stored, new, strict=True)))
        slots = jnp.arange(stored.keys.shape[2])
        seen = slots[None, :] <= slot + jnp.arange(x.shape[1])[:, None]  # [n, slots]
        attended = self.attention.attend(x, stored, mask=seen[None, None], train=False)
        return self._finish(x, attended, memory, memory_mask, train=False), stored

    def _finish(self, x, attended, memory, memory_mask, train):
        """The block from its first sum on."""
        x = self.attention_norm(x + self.drop(attended, deterministic=not train))
        if memory is not None:
            x = self.cross_norm(x + self.drop(self._read(x, memory, memory_mask, train), deterministic=not train))
        return self.mlp_norm(x + self.drop(self.mlp(x, train=train), deterministic=not train))

    def _read(self, x, memory, memory_mask, train):
        """Attention to the memory; the rows of x that share a row of it stand below one another as the queries of one row."""
        rows = memory.keys.shape[0]
        if x.shape[0] % rows:
            raise ValueError(f"{x.shape[0]} rows cannot share a memory of {rows}")
        mask = None if memory_mask is None else memory_mask[:, None, None, :]
        return self.cross.attend(x.reshape(rows, -1, x.shape[-1]), memory, mask=mask, train=train).reshape(x.shape)
