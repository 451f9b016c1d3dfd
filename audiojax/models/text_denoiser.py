"""The denoiser of diffusion captioning: latents of the words of a caption, refined together while they read a sound.

DAC (arXiv 2409.09401) takes the network of LaDiC (arXiv 2404.10763, "LaDiC code diff_models/diffcap_model.py") and gives it sound for
images: a BERT whose blocks attend to a second sequence, without a causal mask and without a padding mask, so that all positions of a
caption are written at once and the network itself decides where it ends. `TextDenoiser(config)` predicts x_0, or the noise: what it was
trained for. `memory` projects the keys and values of the sound for all layers; a sampler does so once and gives them to every step.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from audiojax.errors import UsageError
from audiojax.nn.attention import NORMAL_002
from audiojax.nn.embed import sinusoidal_table
from audiojax.nn.transformer import Memory, TransformerBlock
from audiojax.typing import Array


@dataclass(frozen=True)
class TextDenoiserConfig:
    """Sizes of the denoiser; the defaults are the preset "base".

    Attributes:
      latent: C, features of a word's latent.
      width: D, features of a position inside.
      hidden: features inside the feed-forward part.
      context: features of a token of the sound, as the projection gives it.
      max_positions: rows of the position table: the longest caption.
      projections: linear maps from 2 C to D and from D to C. LaDiC has none: D = 2 C, and the first C features are the output.
      levels: rows of the noise-level table; the steps of the schedule may not exceed it.
      time_norm: whether a norm stands between that table and the network.
      dropout: of hidden states, in training.
      attention_dropout: of attention weights, in training.
    """

    latent: int = 768
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    context: int = 768
    max_positions: int = 512
    projections: bool = True
    levels: int = 1000
    time_norm: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12

    def __post_init__(self):
        if not self.projections and self.width != 2 * self.latent:
            raise UsageError(f"without projections the width is twice the latent's: got {self.width} and {self.latent}")


PRESETS = {
    "base": TextDenoiserConfig(),
    "ladic": TextDenoiserConfig(width=1536, heads=16, projections=False),
    "soundworld": TextDenoiserConfig(latent=128, width=192, layers=3, heads=4, hidden=768, context=192),
    "tiny": TextDenoiserConfig(latent=32, width=64, layers=2, heads=4, hidden=128, context=64, max_positions=64),
}


class TextDenoiser(nn.Module):
    """Projection in, noise level and positions, a norm, `layers` blocks, projection out. Weights start as N(0, 0.02), biases as 0."""

    config: TextDenoiserConfig = TextDenoiserConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if c.projections:
            self.project_in = nn.Dense(c.width, kernel_init=NORMAL_002, **types)
            self.project_out = nn.Dense(c.latent, kernel_init=NORMAL_002, **types)
        if c.time_norm:
            self.time_norm = nn.LayerNorm(c.norm_eps, **types)
        self.position = nn.Embed(c.max_positions, c.width, embedding_init=NORMAL_002, **types)
        self.norm = nn.LayerNorm(c.norm_eps, **types)
        self.drop = nn.Dropout(c.dropout)
        rates = {"dropout": c.dropout, "attention_dropout": c.attention_dropout}
        self.layer = [TransformerBlock(c.width, c.heads, c.hidden, norm_eps=c.norm_eps, **rates, **types) for _ in range(c.layers)]

    def memory(self, audio: Float[Array, "r m k"]) -> Memory:
        """Keys and values of the sound for every layer; no step of a sampler changes them.

        Raises:
          ValueError: `audio` has not `config.context` features.
        """
        if audio.shape[-1] != self.config.context:
            raise ValueError(f"the sound has {audio.shape[-1]} features, this denoiser reads {self.config.context}")
        return tuple(layer.memory(audio) for layer in self.layer)

    def __call__(
        self,
        x_t: Float[Array, "b n c"],
        x0_prev: Float[Array, "b n c"],
        t: Int[Array, "b"],
        memory: Memory | Float[Array, "r m k"],
        audio_mask: Bool[Array, "r m"],
        *,
        train: bool,
    ) -> Float[Array, "b n c"]:
        """The prediction of x_0, or of the noise, in float32; all n positions see each other.

        Args:
          x_t: noised latents; n <= config.max_positions (ValueError otherwise).
          x0_prev: the x_0 of the step before (self-conditioning, arXiv 2208.04202); zeros where there is none.
          t: noise level of each row, 0..levels-1.
          memory: what `memory` returned, or the sound itself. Its r rows divide b, row i of the latents reads row i // (b / r): several
            captions of a sound share one.
          audio_mask: True = token of the sound, False = padding, which has no influence; each row has at least one token.
          train: switches dropout on (rng stream "dropout").
        """
        c = self.config
        if x_t.shape[1] > c.max_positions:
            raise ValueError(f"{x_t.shape[1]} positions, but this denoiser has {c.max_positions}")
        if not isinstance(memory, tuple):
            memory = self.memory(memory)
        x = jnp.concatenate([x_t, x0_prev], axis=-1).astype(self.dtype)  # [b, n, 2c]
        x = self.project_in(x) if c.projections else x
        level = jnp.asarray(sinusoidal_table(c.levels, c.width))[t].astype(self.dtype)  # [b, d]
        level = self.time_norm(level) if c.time_norm else level
        x = x + level[:, None] + self.position(jnp.arange(x.shape[1]))[None]
        x = self.drop(self.norm(x), deterministic=not train)
        for layer, kept in zip(self.layer, memory, strict=True):
            x = layer(x, kept, audio_mask, train=train)
        x = self.project_out(x) if c.projections else x[..., : c.latent]
        return x.astype(jnp.float32)
