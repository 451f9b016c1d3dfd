"""Co-attention of a text and a sound (arXiv 2412.20914): each is read again while it looks at the other, then the two are compared.

Of the paper only the abstract and digests are public. The unit is that of MCAN ("MILVLG/mcan-vqa code", its guided attention), here in
both directions at once; for a text T of L words and a sound A of N segments

  SGA(x | y)  = LN(g + FFN(g)),   g = LN(s + MHA(s, y, y)),   s = LN(x + MHA(x, x, x))
  CoAtt(T, A) = SGA_t(T | A), SGA_a(A | T)

and a cascade repeats it: "single" once, "stack" with weights of their own for each step, "iterate" with the same ones. A cascade of no
steps is a plain dual encoder, from which training starts.

A pair is scored by itself, s_ij = cos(W_t pool(T^ij), W_a pool(A^ij)): nothing of another text or sound enters. `pair_scores` maps the
network of one pair over all of them with vmap, so that whatever depends on one side alone (its projection, the first self-attention, the
first keys and values) is computed once for that side.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Shaped

from audiojax.nn.attention import MultiHeadAttention
from audiojax.nn.embed import sinusoidal_table
from audiojax.nn.mlp import Mlp
from audiojax.typing import Array, Key, Params

CASCADES = ("single", "stack", "iterate", "encdec")
PAIRS = 32  # scored together: at D = 512 more of them leave the caches of a CPU, and 128 cost a fifth to a third of the speed


@dataclass(frozen=True)
class CoAttentionConfig:
    """Sizes and switches; the defaults are MCAN's small network. One unit has 32 D^2 + 38 D parameters where `hidden` is 4 D.

    Attributes:
      width: D, features of a word or segment inside.
      heads: of every attention.
      hidden: features inside the feed-forward parts.
      dropout: of attention weights, inside the feed-forward parts, and of what is added to a residual.
      cascade: "single" | "stack" | "iterate"; "encdec" is MCAN's own: the text by itself `depth` times, then the sound guided by it.
      depth: R, steps of the cascade; "single" has one whatever this says.
      update: "parallel": both sides read the other as it was; "alternating": the sound reads the text of this step.
      unit: "guided" as above, or "affinity": C = tanh(T W A^T), whose rows and columns weight the other side (arXiv 1606.00061).
      pool: "mean" over what is valid, or "attention": weighted by a learned score.
      audio_positions: "none" | "sinusoidal", added to the segments; without them the order of sounds cannot be heard.
    """

    width: int = 512
    heads: int = 8
    hidden: int = 2048
    dropout: float = 0.1
    cascade: str = "iterate"
    depth: int = 2
    update: str = "parallel"
    unit: str = "guided"
    pool: str = "mean"
    audio_positions: str = "none"
    norm_eps: float = 1e-6

    @property
    def steps(self) -> int:
        """How often a pair is refined."""
        return 1 if self.cascade == "single" else self.depth

    @property
    def units(self) -> int:
        """Modules with weights of their own."""
        return 1 if self.cascade in ("single", "iterate") else self.depth


class States(NamedTuple):
    """Word states of texts or segment states of sounds.

    Attributes:
      values: [b, l, d].
      mask: [b, l], True = valid; at least one in each row.
    """

    values: Array
    mask: Array


class Block(nn.Module):
    """One side of a unit: self-attention, attention to the other side where one is given, and a feed-forward part; each LN(x + ...)."""

    config: CoAttentionConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: States, other: States | None = None, *, train: bool) -> States:
        """SGA(x | other), or SA(x) with its feed-forward part."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        attend = {"heads": c.heads, "width": c.width, "dropout": c.dropout, "kernel_init": nn.initializers.xavier_uniform()} | types

        def added(name: str, value: Array, change: Array) -> Array:
            change = nn.Dropout(c.dropout, deterministic=not train)(change)
            return nn.LayerNorm(c.norm_eps, name=f"norm_{name}", **types)(value + change)

        value = added("self", x.values, MultiHeadAttention(name="self", **attend)(x.values, mask=x.mask, train=train))
        if other is not None:
            guided = MultiHeadAttention(name="guided", **attend)(value, other.values, mask=other.mask, train=train)
            value = added("guided", value, guided)
        mlp = Mlp(c.hidden, c.width, dropout=c.dropout, name="mlp", **types)
        return States(added("mlp", value, mlp(value, train=train)), x.mask)


class GuidedUnit(nn.Module):
    """(T, A) -> (SGA_t(T | A), SGA_a(A | T)); under "alternating" the second reads the first's result."""

    config: CoAttentionConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, text: States, audio: States, *, train: bool) -> tuple[States, States]:
        """One step of a cascade."""
        options = (self.config, self.dtype, self.param_dtype)
        new = Block(*options, name="text")(text, audio, train=train)
        guide = new if self.config.update == "alternating" else text
        return new, Block(*options, name="audio")(audio, guide, train=train)


class AffinityUnit(nn.Module):
    """(T, A) -> both, each with what the affinity matrix C = tanh(T W A^T) gathers from the other: softmax(C) A and softmax(C^T) T."""

    config: CoAttentionConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, text: States, audio: States, *, train: bool) -> tuple[States, States]:
        """One step of a cascade."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def linear(name: str) -> nn.Dense:
            return nn.Dense(c.width, use_bias=False, name=name, **types)

        def gathered(affinity: Array, other: States, values: Array) -> Array:
            scores = jnp.where(other.mask[:, None], affinity.astype(jnp.float32), jnp.finfo(jnp.float32).min)
            return jax.nn.softmax(scores, axis=-1).astype(values.dtype) @ values

        def refined(name: str, x: States, change: Array) -> States:
            drop = nn.Dropout(c.dropout, deterministic=not train)
            value = nn.LayerNorm(c.norm_eps, name=f"norm_{name}", **types)(x.values + drop(change))
            mlp = Mlp(c.hidden, c.width, dropout=c.dropout, name=f"mlp_{name}", **types)
            return States(nn.LayerNorm(c.norm_eps, name=f"norm_mlp_{name}", **types)(value + drop(mlp(value, train=train))), x.mask)

        affinity = jnp.tanh(linear("affinity")(text.values) @ jnp.swapaxes(audio.values, 1, 2))  # [b, l, n]
        new = refined("text", text, gathered(affinity, audio, linear("audio_values")(audio.values)))
        guide = new if c.update == "alternating" else text
        change = gathered(jnp.swapaxes(affinity, 1, 2), text, linear("text_values")(guide.values))
        return new, refined("audio", audio, change)


class EncoderDecoder(nn.Module):
    """MCAN's published cascade: R times SA on the text, then R times SGA(A | T_R), all with weights of their own."""

    config: CoAttentionConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, text: States, audio: States, *, train: bool) -> tuple[States, States]:
        """The whole cascade."""
        options = (self.config, self.dtype, self.param_dtype)
        for step in range(self.config.depth):
            text = Block(*options, name=f"text_{step}")(text, train=train)
        for step in range(self.config.depth):
            audio = Block(*options, name=f"audio_{step}")(audio, text, train=train)
        return text, audio


class Pool(nn.Module):
    """One vector for each row: the mean of what is valid, or ("attention") a mean weighted by the softmax of a learned score."""

    config: CoAttentionConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: States, *, train: bool) -> Float[Array, "b d"]:
        """[b, l, d] -> [b, d]."""
        if self.config.pool == "mean":
            weights = x.mask / jnp.sum(x.mask, axis=1, keepdims=True)
        else:
            types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
            score = Mlp(self.config.width, 1, dropout=self.config.dropout, name="score", **types)(x.values, train=train)[..., 0]
            weights = jax.nn.softmax(jnp.where(x.mask, score.astype(jnp.float32), jnp.finfo(jnp.float32).min), axis=1)
        return jnp.einsum("bl,bld->bd", weights.astype(x.values.dtype), x.values)


class CoAttention(nn.Module):
    """The cascade between two towers: states of texts and of sounds in, unit vectors of pairs out.

    Parameters: "text_in", "audio_in", "text_out", "audio_out", the pools' if they have any, and "unit_0", "unit_1", ..., which
    `encode_text` and `encode_audio` do not use.
    """

    config: CoAttentionConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.text_in, self.audio_in = nn.Dense(c.width, **types), nn.Dense(c.width, **types)
        self.text_pool, self.audio_pool = Pool(c, **types), Pool(c, **types)
        self.text_out, self.audio_out = (nn.Dense(c.width, use_bias=False, **types) for _ in range(2))
        if c.cascade == "encdec":
            self.unit = [EncoderDecoder(c, **types)]
        else:
            self.unit = [(GuidedUnit if c.unit == "guided" else AffinityUnit)(c, **types) for _ in range(c.units)]

    def __call__(self, text: States, audio: States, *, train: bool) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        """Unit vectors (float32) of text i and sound i after they have read each other; their scalar product is s_ii."""
        text, audio = self._project_text(text), self._project_audio(audio)
        for step in range(1 if self.config.cascade == "encdec" else self.config.steps):
            text, audio = self.unit[step % len(self.unit)](text, audio, train=train)
        return self._text_vector(text, train), self._audio_vector(audio, train)

    def encode_text(self, text: States, *, train: bool) -> Float[Array, "b d"]:
        """Unit vectors (float32) of texts by themselves: the cascade of no steps."""
        return self._text_vector(self._project_text(text), train)

    def encode_audio(self, audio: States, *, train: bool) -> Float[Array, "b d"]:
        """Unit vectors (float32) of sounds by themselves."""
        return self._audio_vector(self._project_audio(audio), train)

    def _project_text(self, text: States) -> States:
        return States(self.text_in(text.values), text.mask)

    def _project_audio(self, audio: States) -> States:
        values = self.audio_in(audio.values)
        if self.config.audio_positions == "sinusoidal":
            values = values + jnp.asarray(sinusoidal_table(*values.shape[1:]), values.dtype)[None]
        return States(values, audio.mask)

    def _text_vector(self, text: States, train: bool) -> Array:
        return unit(self.text_out(self.text_pool(text, train=train)))

    def _audio_vector(self, audio: States, train: bool) -> Array:
        return unit(self.audio_out(self.audio_pool(audio, train=train)))


def unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """x at length 1, float32; zeros stay zeros."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-24))


def pair_score(network: CoAttention, params: Params, text: States, audio: States, key: Key | None = None) -> Float[Array, ""]:
    """s of one text with one sound, states without a batch axis; for dropout in training with a key."""
    one, train = jax.tree.map(lambda x: x[None], (text, audio)), key is not None
    found = network.apply({"params": params}, *one, train=train, rngs={"dropout": key} if train else {})
    return jnp.sum(found[0] * found[1])


def pair_scores(
    network: CoAttention,
    params: Params,
    text: States,
    audio: States,
    keys: Shaped[Array, "i j"] | None = None,
    *,
    block: int | None = None,
    remat: bool = False,
) -> Float[Array, "i j"]:
    """s_ij of every text i with every sound j, float32, `block` sounds at a time: the states of i * block pairs are alive at once.

    Args:
      network: as trained.
      params: of the network.
      text, audio: states of i texts and j sounds.
      keys: one for each pair, for dropout in training; None in evaluation.
      block: sounds of a step, by default as many as make PAIRS pairs, at least one; it changes nothing but memory and speed.
      remat: whether the backward pass computes a block again and keeps only its inputs.
    """
    texts, sounds = text.mask.shape[0], audio.mask.shape[0]
    block = min(block or max(1, PAIRS // texts), sounds)
    train = keys is not None
    of_pair = partial(pair_score, network, params)
    of_text = jax.vmap(of_pair, in_axes=(None, 0, 0 if train else None))
    of_block = jax.vmap(of_text, in_axes=(0, None, 0 if train else None))

    def step(part: tuple[States, Array | None]) -> Float[Array, "i block"]:
        return of_block(text, *part)

    def blocks(x: Array) -> Array:  # [j, ...] -> [blocks, block, ...]; the last block repeats sounds, whose scores are cut off
        x = jnp.take(x, jnp.arange(-(-sounds // block) * block) % sounds, axis=0)
        return x.reshape(-1, block, *x.shape[1:])

    parts = (jax.tree.map(blocks, audio), None if keys is None else jnp.swapaxes(blocks(jnp.swapaxes(keys, 0, 1)), 1, 2))
    scores = jax.lax.map(jax.checkpoint(step) if remat else step, parts)  # [blocks, i, block]
    return jnp.swapaxes(scores, 0, 1).reshape(scores.shape[1], -1)[:, :sounds]
