"""BEATs, an audio tower: a post-norm transformer over the patches of a log-mel spectrogram (arXiv 2212.09058).

`Beats(PRESETS["base"])` is a linen module. Facts and sizes: "microsoft/unilm beats code" and the settings kept in BEATs_iter3_plus files.
Tokens are time-major: token t * bands + f. Positions come from a convolution over the tokens, and from relative positions in attention,
whose table all layers share and each gates by its queries.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from audiojax.audio.spectral import BEATS, MelConfig
from audiojax.nn.attention import NORMAL_002, attention
from audiojax.nn.embed import relative_buckets
from audiojax.nn.mlp import Mlp, gelu_exact
from audiojax.typing import Array

NORM_EPS = 1e-5
GATE = 8  # outputs of the gate's linear map, of which four and four are summed


@dataclass(frozen=True)
class BeatsConfig:
    """Sizes of one tower; the defaults are BEATs iter3+.

    Attributes:
      mels: mel bins of the spectrogram.
      patch: side and stride of a patch; divides `mels`.
      embed: features of a patch before it is projected to `width`; where they are equal, it is not projected.
      hidden: features inside the feed-forward part.
      kernel: taps of the convolution over tokens that tells positions.
      groups: of that convolution; divides `width`.
      buckets: rows of the table of relative positions.
      max_distance: distance in tokens from which on all positions look the same.
      classes: tags of a fine-tuned checkpoint's head; 0 for none.
      dropout: of hidden states, in training.
      attention_dropout: of attention weights, in training.
    """

    mels: int = 128
    patch: int = 16
    embed: int = 512
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    kernel: int = 128
    groups: int = 16
    buckets: int = 320
    max_distance: int = 800
    classes: int = 0
    dropout: float = 0.1
    attention_dropout: float = 0.1

    @property
    def front_end(self) -> MelConfig:
        """The spectrogram that the tower takes: Kaldi's at 16 kHz, normalised with AudioSet's statistics."""
        return replace(BEATS, n_mels=self.mels)

    @property
    def alpha(self) -> float:
        """What DeepNorm multiplies the residual stream by."""
        return (2 * self.layers) ** 0.25

    @property
    def beta(self) -> float:
        """What DeepNorm multiplies the first weights of values, outputs and the feed-forward part by."""
        return (8 * self.layers) ** -0.25


PRESETS = {
    "base": BeatsConfig(),
    "base-tagging": BeatsConfig(classes=527),
    "tiny": BeatsConfig(mels=64, embed=64, width=80, layers=4, heads=5, hidden=320, kernel=32, groups=5, buckets=64, max_distance=96),
}


class BeatsOutput(NamedTuple):
    """What the tower returns.

    Attributes:
      tokens: [b, n, d] of the last block, n = (frames // patch) * (mels // patch).
      mask: [b, n], True where a token is of the clip and not of its padding.
      pooled: [b, d], the mean of the valid tokens.
      logits: [b, classes] of the head, whose sigmoid is the probability of a tag; None without one.
    """

    tokens: Array
    mask: Array
    pooled: Array
    logits: Array | None


class GatedAttention(nn.Module):
    """Self-attention whose bias of relative positions is scaled for every query, as in WavLM (arXiv 2110.13900).

    bias_ij = (a_i (b_i c - 1) + 2) table_ij, with a_i, b_i the sigmoids of two sums of four outputs of a linear map of query i, and c
    a number of each head.
    """

    heads: int
    dropout: float
    gain: float
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], table: Float[Array, "1 h n n"], *, train: bool
    ) -> Float[Array, "b n d"]:
        """Mixes the tokens; only those where `mask` is True are attended to."""
        b, n, width = x.shape
        if width % self.heads:
            raise ValueError(f"width {width} is not divisible by {self.heads} heads")

        def dense(features, name, gain=1.0):
            return nn.Dense(features, kernel_init=xavier_normal(gain), dtype=self.dtype, param_dtype=self.param_dtype, name=name)

        def project(name, gain=1.0):
            return dense(width, name, gain)(x).reshape(b, n, self.heads, -1)

        query = project("query")
        scale = self.param("gate_scale", nn.initializers.ones, (1, self.heads, 1, 1), self.param_dtype).astype(jnp.float32)
        gates = nn.Dense(GATE, kernel_init=NORMAL_002, dtype=jnp.float32, param_dtype=self.param_dtype, name="gate")(query)
        gates = jnp.swapaxes(gates, 1, 2).reshape(b, self.heads, n, 2, GATE // 2)
        first, second = jnp.split(jax.nn.sigmoid(jnp.sum(gates, axis=-1)), 2, axis=-1)  # [b, h, n, 1]
        drop = nn.Dropout(self.dropout, deterministic=False) if train and self.dropout else None
        mixed = attention(
            query,
            project("key"),
            project("value", self.gain),
            bias=(first * (second * scale - 1) + 2) * table,
            mask=mask[:, None, None],
            drop=drop,
        )
        return dense(width, "out", self.gain)(mixed.reshape(b, n, width))


class BeatsLayer(nn.Module):
    """Post-norm block with a scaled residual (DeepNorm, arXiv 2203.00555): x = LN(alpha x + attention(x)); x = LN(alpha x + mlp(x))."""

    config: BeatsConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], table: Float[Array, "1 h n n"], *, train: bool
    ) -> Float[Array, "b n d"]:
        """Refines the tokens."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        drop = nn.Dropout(c.dropout, deterministic=not train)
        mixed = GatedAttention(c.heads, c.attention_dropout, c.beta, name="attention", **types)(x, mask, table, train=train)
        x = nn.LayerNorm(NORM_EPS, name="attention_norm", **types)(c.alpha * x + drop(mixed))
        mlp = Mlp(c.hidden, c.width, activation=gelu_exact, kernel_init=xavier_normal(c.beta), name="mlp", **types)
        return nn.LayerNorm(NORM_EPS, name="mlp_norm", **types)(c.alpha * x + drop(mlp(x, train=train)))


class Beats(nn.Module):
    """Patches, a norm, a projection, positions by convolution, a norm, and `layers` blocks."""

    config: BeatsConfig = BeatsConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, mel: Float[Array, "b frames mels"], mask: Bool[Array, "b frames"] | None = None, *, train: bool) -> BeatsOutput:
        """Encodes normalised log-mel spectrograms of any length; frames after the last whole patch are not looked at.

        Args:
          mel: as `config.front_end` makes it; fewer frames than a patch has, or other mel bins, are a ValueError.
          mask: True = frame of the clip, False = padding at its end; all True by default. Tokens of padding are finite but meaningless.
            A valid token sees all of its patch, padding included.
          train: switches dropout on (rng stream "dropout").
        """
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if mel.shape[2] != c.mels or mel.shape[1] < c.patch or c.mels % c.patch:
            raise ValueError(f"spectrograms {mel.shape[1:]}, but this tower takes {c.patch} or more frames of {c.mels} mel bins")
        side = (c.patch, c.patch)
        conv = nn.Conv(c.embed, side, side, padding="VALID", use_bias=False, kernel_init=NORMAL_002, name="patch_conv", **types)
        x = conv(mel[..., None]).reshape(mel.shape[0], -1, c.embed)  # [b, time * bands, embed]
        x = nn.LayerNorm(NORM_EPS, name="patch_norm", **types)(x)
        if c.embed != c.width:
            x = nn.Dense(c.width, kernel_init=NORMAL_002, name="project", **types)(x)

        b, n, _ = x.shape
        valid = jnp.ones((b, n), bool) if mask is None else shorten_mask(mask, n)
        x = jnp.where(valid[..., None], x, 0)  # the convolution must see silence there
        x = x + gelu_exact(self._positions(x, types))
        x = nn.LayerNorm(NORM_EPS, name="norm", **types)(x)
        x = nn.Dropout(c.dropout, deterministic=not train)(x)

        embed = nn.Embed(c.buckets, c.heads, embedding_init=NORMAL_002, param_dtype=self.param_dtype, name="relative_position")
        table = jnp.transpose(embed(relative_buckets(n, c.buckets, c.max_distance)), (2, 0, 1))[None].astype(jnp.float32)
        for i in range(c.layers):
            x = BeatsLayer(c, name=f"layer_{i}", **types)(x, valid, table, train=train)
        pooled = masked_mean(x, valid)
        logits = nn.Dense(c.classes, kernel_init=NORMAL_002, name="head", **types)(pooled) if c.classes else None
        return BeatsOutput(x, valid, pooled, logits)

    def _positions(self, x, types):
        # Grouped convolutions are the exception to "1-D as 2-D": on CPU the 1-D form of this one is 9 times as fast.
        c = self.config
        first = nn.initializers.normal((4 / (c.kernel * c.width)) ** 0.5)
        around = [(c.kernel // 2, (c.kernel - 1) // 2)]  # an even kernel looks one token further back than ahead
        return nn.Conv(
            c.width, (c.kernel,), padding=around, feature_group_count=c.groups, kernel_init=first, name="position_conv", **types
        )(x)


def xavier_normal(gain: float) -> nn.initializers.Initializer:
    """N(0, 2 gain^2 / (fan_in + fan_out))."""
    return nn.initializers.variance_scaling(gain**2, "fan_avg", "normal")


def shorten_mask(mask: Bool[Array, "b m"], n: int) -> Bool[Array, "b n"]:
    """The mask of m positions for n of them: each of n equal runs is valid if any of it is, and what is left over at the end is dropped.

    BEATs goes so from samples to frames and from frames to tokens. With its 16 x 16 patches of 128 mels a token answers for two frames
    (token t * 8 + f for frames 16 t + 2 f and the next), though all eight tokens of a patch column see the same 16 frames.
    """
    run = mask.shape[1] // n
    return jnp.any(mask[:, : run * n].reshape(mask.shape[0], n, run), axis=-1)


def masked_mean(x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
    """Mean of the valid tokens, summed in float32; zeros where there are none."""
    total = jnp.sum(jnp.where(mask[..., None], x.astype(jnp.float32), 0), axis=1)
    return (total / jnp.maximum(jnp.sum(mask, axis=1, dtype=jnp.float32), 1)[:, None]).astype(x.dtype)
