"""AudioMAE, an audio tower: a vision transformer over the 16 x 16 patches of a log-mel spectrogram (arXiv 2207.06405).

`AudioMae(PRESETS["vit-base"])` is a linen module. Facts and sizes: "facebookresearch/AudioMAE code", pretrained.pth and finetuned.pth.
`pool_patches` makes of its features what the AudioLDM family conditions on, and `MaskedAutoencoder` trains such a tower.

Patches are time-major: patch t * bands + f. Positions are fixed sinusoids and lie in the collection "constants", which no step trains;
a public checkpoint brings its own table.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from audiojax.audio.spectral import AUDIOMAE, MelConfig
from audiojax.nn.attention import NORMAL_002, MultiHeadAttention
from audiojax.nn.mlp import Mlp, gelu_exact
from audiojax.typing import Array

XAVIER = nn.initializers.xavier_uniform()


@dataclass(frozen=True)
class AudioMaeConfig:
    """Sizes of one tower; the defaults are the published ViT-B/16.

    Attributes:
      frames: length of the spectrogram; the position table has no other.
      mels: mel bins of the spectrogram.
      patch: side and stride of a patch; divides both.
      mlp_ratio: features inside the feed-forward part over `width`.
      blocks: last blocks whose normalised outputs are averaged in `features`.
      clip_norm: the layout of fine-tuned checkpoints: the LayerNorm stands after the mean over patches, and tokens have none.
      classes: tags of a fine-tuned checkpoint's head; 0 for none.
    """

    frames: int = 1024
    mels: int = 128
    patch: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_ratio: int = 4
    blocks: int = 3
    clip_norm: bool = False
    classes: int = 0
    norm_eps: float = 1e-6

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along time and along frequency."""
        return self.frames // self.patch, self.mels // self.patch

    @property
    def front_end(self) -> MelConfig:
        """The spectrogram that the tower takes: Kaldi's at 16 kHz, cut or padded to `frames`, normalised with AudioSet's statistics."""
        return replace(AUDIOMAE, n_mels=self.mels, frames=self.frames)


PRESETS = {
    "vit-base": AudioMaeConfig(),
    "vit-base-tagging": AudioMaeConfig(clip_norm=True, classes=527),
    "tiny": AudioMaeConfig(frames=384, mels=64, width=80, layers=4, heads=5),
}


class AudioMaeOutput(NamedTuple):
    """What the tower returns.

    Attributes:
      tokens: [b, 1 + n, d] of the last block, class token first; normalised, unless the config has `clip_norm`.
      features: [b, n, d] of the patches, the mean over the last `blocks` blocks of the tokens as they are above.
      pooled: [b, d], the mean of the last patches; normalised under `clip_norm`.
      logits: [b, classes] of the head, whose sigmoid is the probability of a tag; None without one.
    """

    tokens: Array
    features: Array
    pooled: Array
    logits: Array | None


class Block(nn.Module):
    """Pre-norm block: x = x + attention(LN(x)); x = x + mlp(LN(x))."""

    heads: int
    mlp_ratio: int = 4
    norm_eps: float = 1e-6
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool) -> Float[Array, "b n d"]:
        """Refines the tokens."""
        types, width = {"dtype": self.dtype, "param_dtype": self.param_dtype}, x.shape[-1]
        attention = MultiHeadAttention(self.heads, width, kernel_init=XAVIER, name="attention", **types)
        mlp = Mlp(self.mlp_ratio * width, width, activation=gelu_exact, name="mlp", **types)
        x = x + attention(nn.LayerNorm(self.norm_eps, name="attention_norm", **types)(x), train=train)
        return x + mlp(nn.LayerNorm(self.norm_eps, name="mlp_norm", **types)(x), train=train)


class AudioMae(nn.Module):
    """Patches with positions, a class token, `layers` blocks and a norm."""

    config: AudioMaeConfig = AudioMaeConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, mel: Float[Array, "b frames mels"], kept: Int[Array, "b k"] | None = None, *, train: bool) -> AudioMaeOutput:
        """Encodes normalised log-mel spectrograms of `config.frames` frames.

        Args:
          mel: as `config.front_end` makes it; another shape is a ValueError.
          kept: indices of the patches that are seen, in any order; all by default. n then is their number.
          train: makes no difference: the network has neither dropout nor statistics.
        """
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if mel.shape[1:] != (c.frames, c.mels):
            raise ValueError(f"spectrograms {mel.shape[1:]}, but this tower takes {c.frames} frames of {c.mels} mel bins")
        if c.frames % c.patch or c.mels % c.patch:
            raise ValueError(f"{c.frames} frames of {c.mels} mel bins cannot be cut into patches of {c.patch} x {c.patch}")
        side = (c.patch, c.patch)
        x = nn.Conv(c.width, side, side, padding="VALID", kernel_init=XAVIER, name="patch_conv", **types)(mel[..., None])
        x = x.reshape(x.shape[0], -1, c.width)  # [b, time * bands, d]
        position = self.variable("constants", "position", lambda: jnp.asarray(position_table(c.grid, c.width)[None], self.param_dtype))
        position = position.value.astype(x.dtype)  # [1, 1 + n, d]
        x = x + position[:, 1:]
        if kept is not None:
            x = jnp.take_along_axis(x, kept[..., None], axis=1)
        first = self.param("class_token", NORMAL_002, (1, 1, c.width), self.param_dtype).astype(x.dtype) + position[:, :1]
        x = jnp.concatenate([jnp.broadcast_to(first, (x.shape[0], 1, c.width)), x], axis=1)

        outputs = []
        for i in range(c.layers):
            x = Block(c.heads, c.mlp_ratio, c.norm_eps, name=f"layer_{i}", **types)(x, train=train)
            outputs.append(x)
        norm = nn.LayerNorm(c.norm_eps, name="clip_norm" if c.clip_norm else "norm", **types)
        last = outputs[-c.blocks :] if c.clip_norm else [norm(y) for y in outputs[-c.blocks :]]
        features = sum(y[:, 1:].astype(jnp.float32) for y in last) / len(last)
        pooled = jnp.mean(last[-1][:, 1:], axis=1, dtype=jnp.float32).astype(x.dtype)
        pooled = norm(pooled) if c.clip_norm else pooled
        logits = nn.Dense(c.classes, kernel_init=NORMAL_002, name="head", **types)(pooled) if c.classes else None
        return AudioMaeOutput(last[-1], features.astype(x.dtype), pooled, logits)


class MaskedAutoencoder(nn.Module):
    """A tower and a small decoder that fills in the patches it did not see; `audiojax.losses.reconstruction` has the loss.

    The paper's decoder has 16 blocks of attention in local windows; this one has a few of attention among all patches.

    Attributes:
      width: features of the decoder.
      layers: blocks of the decoder.
      heads: attention heads of the decoder.
    """

    config: AudioMaeConfig
    width: int = 512
    layers: int = 2
    heads: int = 8
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, mel: Float[Array, "b frames mels"], kept: Int[Array, "b k"], *, train: bool) -> Float[Array, "b n p"]:
        """What every patch looks like after `normalise_patches`, from the `kept` ones; the tower's variables are under "encoder"."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        seen = AudioMae(c, name="encoder", **types)(mel, kept, train=train).tokens
        seen = nn.Dense(self.width, kernel_init=XAVIER, name="embed", **types)(seen)  # [b, 1 + k, d]
        token = self.param("mask_token", NORMAL_002, (self.width,), self.param_dtype).astype(seen.dtype)
        places = c.grid[0] * c.grid[1]
        hidden = jnp.broadcast_to(token, (places, self.width))
        x = jax.vmap(lambda index, values: hidden.at[index].set(values))(kept, seen[:, 1:])
        x = jnp.concatenate([seen[:, :1], x], axis=1) + jnp.asarray(position_table(c.grid, self.width)[None], seen.dtype)
        for i in range(self.layers):
            x = Block(self.heads, c.mlp_ratio, c.norm_eps, name=f"layer_{i}", **types)(x, train=train)
        x = nn.LayerNorm(c.norm_eps, name="norm", **types)(x)
        return nn.Dense(c.patch**2, kernel_init=XAVIER, name="out", **types)(x[:, 1:])


def position_table(grid: tuple[int, int], width: int) -> Float[np.ndarray, "n d"]:
    """Fixed positions of a class token, all zeros, and then of grid[0] * grid[1] patches, time-major; float32, angles in float64.

    The first half of the features tells the frequency, the second the time; each half has the sines of p / 10000^(4 i / width), then the
    cosines ("facebookresearch/AudioMAE code", util/pos_embed.py). `width` is a multiple of 4 (ValueError).
    """
    if width % 4:
        raise ValueError(f"positions in time and frequency need a width that is a multiple of 4, not {width}")
    rate = 10_000.0 ** (-np.arange(width // 4) / (width // 4))
    time, band = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    angles = [place[:, None] * rate[None, :] for place in (band, time)]
    table = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)
    return np.concatenate([np.zeros((1, width)), table]).astype(np.float32)


def pool_patches(features: Float[Array, "b n d"], grid: tuple[int, int], size: tuple[int, int]) -> Float[Array, "b m d"]:
    """(mean + maximum) / 2 over windows of size[0] by size[1] patches in time and frequency: m = n / (size[0] * size[1]), time-major.

    The AudioLDM family's audio condition: (8, 8) gives AudioLDM 2 its 8 tokens a clip, (4, 4) gives 32, (1, 1) keeps all 512. A window
    that does not divide the grid is a ValueError.
    """
    if grid[0] % size[0] or grid[1] % size[1]:
        raise ValueError(f"a grid of {grid[0]} x {grid[1]} patches cannot be pooled by {size[0]} x {size[1]}")
    b, _, d = features.shape
    x = features.reshape(b, grid[0] // size[0], size[0], grid[1] // size[1], size[1], d)
    pooled = (jnp.mean(x, axis=(2, 4), dtype=jnp.float32) + jnp.max(x, axis=(2, 4))) / 2
    return pooled.reshape(b, -1, d).astype(features.dtype)
