"""LLaMA, a decoder over text tokens that takes embeddings as well (arXiv 2302.13971; LLaMA 2: arXiv 2307.09288; 3: arXiv 2407.21783).

`Llama(config)` returns the logits of every next token. DAC and Diffusion-Link caption with LLaMA-2-7B: embeddings of the sound stand
between the first token and the prompt as a soft prefix, and adapters of rank 8 (`audiojax.nn.lora`) train beside the frozen weights.
`prefill` and `step` decode with a cache, one array of keys and one of values per layer; `audiojax.models.decoding` drives them.
Each layer has its own parameters and decoding unrolls them: on CPU it is twice as fast as with a scan over stacked weights. Training
may scan over them (`scan`), so that one layer is compiled, whatever their number.
"""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Bool, Float, Int

from audiojax.nn.attention import NORMAL_002, attention
from audiojax.nn.lora import Lora, dense
from audiojax.nn.mlp import Mlp
from audiojax.nn.norm import RmsNorm
from audiojax.nn.rope import RopeScaling, rope_frequencies, rope_table, rotate
from audiojax.typing import Array


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes of a LLaMA; the defaults are Llama-2-7b's.

    Attributes:
      width: features of a token.
      heads: of the queries.
      kv_heads: of the keys and values; divides `heads`.
      head_width: features of a head.
      hidden: features inside the feed-forward part.
      max_positions: longest sequence, prompt and answer together.
      rope_theta: base of the wavelengths of rotary positions.
      rope_scaling: how they were changed for a longer context.
      tie_embeddings: whether the word table is the output matrix too.
      qkv_bias, out_bias, mlp_bias: biases that other models of this architecture have (Qwen2: `qkv_bias`).
    """

    vocab_size: int = 32_000
    width: int = 4096
    layers: int = 32
    heads: int = 32
    kv_heads: int = 32
    head_width: int = 128
    hidden: int = 11_008
    max_positions: int = 4096
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-5
    tie_embeddings: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False


PRESETS = {
    "llama-2-7b": LlamaConfig(),
    "tinyllama-1.1b": LlamaConfig(width=2048, layers=22, kv_heads=4, head_width=64, hidden=5632, max_positions=2048),
    "llama-3.2-1b": LlamaConfig(
        vocab_size=128_256,
        width=2048,
        layers=16,
        kv_heads=8,
        head_width=64,
        hidden=8192,
        max_positions=131_072,
        rope_theta=500_000.0,
        rope_scaling=RopeScaling("llama3", 32.0),
        tie_embeddings=True,
    ),
    "soundworld": LlamaConfig(vocab_size=1_000, width=128, layers=3, heads=4, kv_heads=4, head_width=32, hidden=352, max_positions=128),
    "tiny": LlamaConfig(vocab_size=1_000, width=64, layers=2, heads=4, kv_heads=2, head_width=16, hidden=176, max_positions=512),
}

PARTITION_RULES = (  # heads, hidden features and words over tensor, the other dimension over fsdp; norms and biases fall back
    (r"attention/(query|key|value)/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"attention/out/kernel$", PartitionSpec("tensor", "fsdp")),
    (r"mlp/(gate|up)/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"mlp/down/kernel$", PartitionSpec("tensor", "fsdp")),
    (r"word/embedding$", PartitionSpec("tensor", "fsdp")),
    (r"head/kernel$", PartitionSpec("fsdp", "tensor")),
)


class Cache(NamedTuple):
    """What decoding keeps of the tokens so far; the first axis of every array is the row.

    Attributes:
      layers: (keys, values) of each layer, [b, kv_heads, slots, head_width].
      mask: [b, slots], True where a slot holds a token.
      count: [b], tokens so far: the position of the next one.
    """

    layers: tuple[tuple[Array, Array], ...]
    mask: Array
    count: Array


class LlamaAttention(nn.Module):
    """Grouped-query attention with rotary positions."""

    config: LlamaConfig
    lora: Lora | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b l d"],
        mask: Bool[Array, "b 1 l m"],
        table: tuple[Float[Array, "b l e"], ...],
        stored: tuple[Array, Array] | None = None,
        slot: int | Int[Array, ""] = 0,
        *,
        train: bool,
    ) -> tuple[Float[Array, "b l d"], tuple[Array, Array]]:
        """(x attended to itself, head-major keys and values); with `stored`, to these after x has been put into them at `slot`."""
        c = self.config
        if c.heads % c.kv_heads:
            raise ValueError(f"{c.heads} heads cannot share {c.kv_heads} heads of keys and values")
        counts = {"query": c.heads, "key": c.kv_heads, "value": c.kv_heads}
        q, k, v = (self._heads(x, count, name, train) for name, count in counts.items())
        q, (k, v) = rotate(q, table), (jnp.swapaxes(part, 1, 2) for part in (rotate(k, table), v))  # k, v: [b, kv_heads, time, features]
        if stored is not None:
            k, v = (lax.dynamic_update_slice(old, new, (0, 0, slot, 0)) for old, new in zip(stored, (k, v), strict=True))
        mixed = attention(q, jnp.swapaxes(k, 1, 2), jnp.swapaxes(v, 1, 2), mask=mask)
        return self._dense(c.width, "out", c.out_bias, train)(mixed.reshape(*mixed.shape[:-2], -1)), (k, v)

    def _heads(self, x, count, name, train):
        """A projection of x, [b, l, count, head_width]."""
        y = self._dense(count * self.config.head_width, name, self.config.qkv_bias, train)(x)
        return y.reshape(*x.shape[:-1], count, self.config.head_width)

    def _dense(self, features, name, use_bias, train):
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        return dense(features, name, self.lora, train=train, use_bias=use_bias, kernel_init=NORMAL_002, **types)


class LlamaLayer(nn.Module):
    """One pre-norm block on a float32 stream: x = x + attention(norm(x)); x = x + mlp(norm(x))."""

    config: LlamaConfig
    lora: Lora | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b l d"],
        mask: Bool[Array, "b 1 l m"],
        table: tuple[Float[Array, "b l e"], ...],
        stored: tuple[Array, Array] | None = None,
        slot: int | Int[Array, ""] = 0,
        *,
        train: bool,
    ) -> tuple[Float[Array, "b l d"], tuple[Array, Array]]:
        """The refined states, and the keys and values that `LlamaAttention` returns."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        adapted = {"lora": self.lora, **types}
        mixed = LlamaAttention(c, name="attention", **adapted)
        feed_forward = Mlp(
            c.hidden, c.width, activation=jax.nn.silu, gated=True, use_bias=c.mlp_bias, kernel_init=NORMAL_002, name="mlp", **adapted
        )
        attended, kept = mixed(RmsNorm(c.norm_eps, name="attention_norm", **types)(x), mask, table, stored, slot, train=train)
        x = x + attended.astype(jnp.float32)
        return x + feed_forward(RmsNorm(c.norm_eps, name="mlp_norm", **types)(x), train=train).astype(jnp.float32), kept


class Llama(nn.Module):
    """Word table, `layers` blocks, a last norm and the output matrix. Weights start as N(0, 0.02), biases as 0.

    Attributes:
      lora: adapters beside the weights; None for the model as it is.
      remat: keep the states between the layers alone in training, and compute the rest again for the gradient: a layer's worth of memory
        in place of all layers', for a third more work.
      scan: run one compiled layer over all of them in training. Their weights are stacked for it in every step, which takes their bytes
        once more; many devices share these.
    """

    config: LlamaConfig = LlamaConfig()
    lora: Lora | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32
    remat: bool = False
    scan: bool = False

    def setup(self):
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.word = nn.Embed(c.vocab_size, c.width, embedding_init=NORMAL_002, param_dtype=self.param_dtype)
        self.layer = [LlamaLayer(c, self.lora, **types) for _ in range(c.layers)]
        self.norm = RmsNorm(c.norm_eps, **types)
        if not c.tie_embeddings:
            wide = {"preferred_element_type": jnp.float32}
            self.head = nn.Dense(
                c.vocab_size, use_bias=False, kernel_init=NORMAL_002, dot_general=lambda *a, **k: lax.dot_general(*a, **k | wide), **types
            )

    def __call__(
        self, inputs: Int[Array, "b l"] | Float[Array, "b l d"], mask: Bool[Array, "b l"], *, train: bool
    ) -> Float[Array, "b l v"]:
        """Logits of the token after each position, in float32; at positions where `mask` is False they are finite but meaningless.

        Args:
          inputs: ids, 0 <= ids < vocab_size, or their embeddings, as `embed` returns them or as something else makes them.
          mask: True = token, False = padding, which may stand on either side: positions count the tokens.
          train: switches the adapters' dropout on (rng stream "dropout"); the model itself has none.

        Raises:
          ValueError: l > max_positions.
        """
        length = inputs.shape[1]
        if length > self.config.max_positions:
            raise ValueError(f"{length} tokens, but this LLaMA has {self.config.max_positions} positions")
        x, _ = self._states(self.embed(inputs) if inputs.ndim == 2 else inputs, mask, train)
        return self._logits(x)

    def embed(self, ids: Int[Array, "*b"]) -> Float[Array, "*b d"]:
        """Embeddings of token ids."""
        return self.word(ids)

    def prefill(self, embeds: Float[Array, "b l d"], mask: Bool[Array, "b l"], free: int) -> tuple[Float[Array, "b v"], Cache]:
        """(logits of the token after the last valid position, cache of the prompt with `free` more slots)."""
        x, kept = self._states(embeds, mask, train=False)
        last = mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)  # [b]
        x = jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
        layers = tuple(tuple(jnp.pad(part, ((0, 0), (0, 0), (0, free), (0, 0))) for part in layer) for layer in kept)
        return self._logits(x), Cache(layers, jnp.pad(mask, ((0, 0), (0, free))), jnp.sum(mask, axis=1, dtype=jnp.int32))

    def step(self, tokens: Int[Array, "b"], cache: Cache, slot: Int[Array, ""]) -> tuple[Float[Array, "b v"], Cache]:
        """(logits of the token after `tokens`, cache with `tokens` at `slot`)."""
        mask = cache.mask.at[:, slot].set(True)
        table = self._table(cache.count[:, None])
        x, kept = self.embed(tokens)[:, None].astype(jnp.float32), []
        for layer, stored in zip(self.layer, cache.layers, strict=True):
            x, stored = layer(x, mask[:, None, None, :], table, stored, slot, train=False)
            kept.append(stored)
        return self._logits(x[:, 0]), Cache(tuple(kept), mask, cache.count + 1)

    def _states(self, embeds, mask, train):
        length = mask.shape[1]
        earlier = jnp.tril(jnp.ones((length, length), bool))[None]
        allowed = (earlier & mask[:, None, :])[:, None]  # [b, 1, query, key]
        table = self._table(jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0))
        x, kept = embeds.astype(jnp.float32), []
        if train and self.scan and not self.is_initializing():
            return self._scanned(x, allowed, table), kept
        for layer in self.layer:
            if train and self.remat:
                x = nn.remat(lambda layer, x: layer(x, allowed, table, train=True)[0])(layer, x)
                continue
            x, pair = layer(x, allowed, table, train=train)
            kept.append(pair)
        return x, kept

    def _scanned(self, x, allowed, table):
        """The layers in training, one after the other by one program."""
        count = self.config.layers
        block = LlamaLayer(self.config, self.lora, self.dtype, self.param_dtype, parent=None)
        params = [self.variables["params"][f"layer_{number}"] for number in range(count)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
        keys = jax.random.split(self.make_rng("dropout"), count) if self.has_rng("dropout") else None

        def body(x, own):
            variables, key = own
            rngs = {} if key is None else {"dropout": key}
            return block.apply({"params": variables}, x, allowed, table, train=True, rngs=rngs)[0], None

        return lax.scan(jax.checkpoint(body) if self.remat else body, x, (stacked, keys))[0]

    def _table(self, positions):
        c = self.config
        return rope_table(positions, rope_frequencies(c.head_width, c.rope_theta, c.rope_scaling))

    def _logits(self, x):
        x = self.norm(x)
        if not self.config.tie_embeddings:
            return self.head(x)
        return jnp.einsum("...d,vd->...v", x, self.word.embedding.astype(self.dtype), preferred_element_type=jnp.float32)
