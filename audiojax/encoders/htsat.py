"""HTSAT, CLAP's audio tower: a Swin transformer over a log-mel spectrogram that is folded into a square image (arXiv 2202.00874).

`Htsat(PRESETS["htsat-tiny"])` is a linen module. Facts and sizes: "laion/clap-htsat-unfused", "-fused", "laion/larger_clap_general".

The image: the mel's time axis is stretched to `config.frames`, cut into `freq_ratio` chunks and stacked, so that its rows are (chunk, mel)
and its columns the frames of a chunk. After the last stage the chunks are put side by side again.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from audiojax.nn.attention import NORMAL_002, attention
from audiojax.nn.mlp import Mlp, gelu_exact
from audiojax.typing import Array


@dataclass(frozen=True)
class HtsatConfig:
    """Sizes of one tower; the defaults are that of laion/clap-htsat-unfused.

    Attributes:
      mels: mel bins of the input; divides `image`.
      image: side of the folded spectrogram, pixels.
      patch: side and stride of a patch, pixels.
      channels: features of a token in the first stage; each later stage has twice as many.
      depths: blocks of each stage.
      heads: attention heads of each stage.
      window: side of an attention window, tokens.
      fusion: whether clips longer than the model's are seen whole and in three crops (attentional feature fusion).
      fusion_reduction: bottleneck of the fusion, channels // this.
      sample_rate: rate (Hz) of the front end that the weights expect; the network itself does not use it.
    """

    mels: int = 64
    image: int = 256
    patch: int = 4
    channels: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 8
    mlp_ratio: int = 4
    norm_eps: float = 1e-5
    fusion: bool = False
    fusion_reduction: int = 4
    sample_rate: int = 48_000

    @property
    def width(self) -> int:
        """Features of the clip vector."""
        return self.channels * 2 ** (len(self.depths) - 1)

    @property
    def freq_ratio(self) -> int:
        """Chunks that the time axis is cut into."""
        return self.image // self.mels

    @property
    def frames(self) -> int:
        """Columns of all chunks together: the longest spectrogram that fits."""
        return self.image * self.freq_ratio


PRESETS = {
    "htsat-tiny": HtsatConfig(),
    "htsat-tiny-fused": HtsatConfig(fusion=True),
    "htsat-base": HtsatConfig(channels=128, depths=(2, 2, 12, 2)),
    "tiny": HtsatConfig(image=128, mels=64, patch=8, channels=24, depths=(2, 2, 2), heads=(2, 4, 8), window=4, sample_rate=16_000),
}


class HtsatOutput(NamedTuple):
    """What the tower returns: `pooled` [b, width], the mean of `tokens` [b, time, mel, width]."""

    pooled: Array
    tokens: Array


class WindowAttention(nn.Module):
    """Multi-head attention inside windows of a map of tokens, with a learned bias for every offset; shifted windows wrap around.

    Attributes:
      shift: rows and columns that the map is rolled by before it is cut; pairs that the roll brings together are held apart by -100.
    """

    heads: int
    window: int
    shift: int
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b r c d"]) -> Float[Array, "b r c d"]:
        """Attends; the map is square and its side a multiple of the window."""
        side, width, w = x.shape[1], x.shape[-1], self.window
        dense = partial(nn.Dense, width, kernel_init=NORMAL_002, dtype=self.dtype, param_dtype=self.param_dtype)
        table = self.param("relative_bias", NORMAL_002, ((2 * w - 1) ** 2, self.heads), self.param_dtype)
        bias = jnp.transpose(table[relative_index(w)], (2, 0, 1))[None]  # [1, h, w * w, w * w]
        if self.shift:
            bias = bias + shift_mask(side, w, self.shift)[:, None]  # [windows, h, w * w, w * w]
        x = jnp.roll(x, (-self.shift, -self.shift), (1, 2)) if self.shift else x

        def project(name):  # before cutting: one large product, fewer copies
            y = cut_windows(dense(name=name)(x), w)  # [b, windows, w * w, d]
            return y.reshape(*y.shape[:-1], self.heads, width // self.heads)

        mixed = jax.vmap(partial(attention, bias=bias))(project("query"), project("key"), project("value"))
        y = join_windows(mixed.reshape(*mixed.shape[:3], width), side)
        y = jnp.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y
        return dense(name="out")(y)


class HtsatBlock(nn.Module):
    """Pre-norm block: x = x + attention(LN(x)); x = x + mlp(LN(x))."""

    config: HtsatConfig
    heads: int
    shift: bool
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b r c d"], *, train: bool) -> Float[Array, "b r c d"]:
        """Refines a square map of tokens."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        side, width = x.shape[1], x.shape[-1]
        window = min(c.window, side)
        shift = window // 2 if self.shift and side > window else 0
        norm = partial(nn.LayerNorm, epsilon=c.norm_eps, **types)
        x = x + WindowAttention(self.heads, window, shift, name="attention", **types)(norm(name="attention_norm")(x))
        mlp = Mlp(c.mlp_ratio * width, width, activation=gelu_exact, kernel_init=NORMAL_002, name="mlp", **types)
        return x + mlp(norm(name="mlp_norm")(x), train=train)


class Htsat(nn.Module):
    """BatchNorm over mel bins, folding, patches, the stages with patch merging between them, final norm, mean over all tokens.

    Attributes:
      axis_name: pmap axis over which BatchNorm statistics are averaged.
    """

    config: HtsatConfig = HtsatConfig()
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, mel: Float[Array, "b views frames mels"], is_longer: Bool[Array, "b"] | None = None, *, train: bool) -> HtsatOutput:
        """Encodes log-mel spectrograms.

        Args:
          mel: dB values of one view a clip; with fusion four: the whole clip shrunk, then its front, middle and back. At most
            `config.frames` frames (ValueError).
          is_longer: with fusion, whether the three crops of a clip are looked at; None = of none.
          train: uses batch statistics (mutable collection "batch_stats").
        """
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if mel.shape[1] != (4 if c.fusion else 1) or mel.shape[3] != c.mels:
            raise ValueError(f"spectrograms {mel.shape[1:]}, but this tower takes {4 if c.fusion else 1} view(s) of {c.mels} mel bins")
        if mel.shape[2] > c.frames:
            raise ValueError(f"{mel.shape[2]} frames, but at most {c.frames} fit: cut the clip into windows")
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, axis_name=self.axis_name, **types)
        x = norm(name="bn0")(mel)
        images = fold(stretch(x, c.frames), c.freq_ratio)  # [b, views, image, image]
        x = self._patches(images, is_longer, norm, types)
        x = nn.LayerNorm(epsilon=c.norm_eps, name="patch_norm", **types)(x)
        for i, (depth, heads) in enumerate(zip(c.depths, c.heads, strict=True)):
            for j in range(depth):
                x = HtsatBlock(c, heads, bool(j % 2), name=f"stage_{i}_{j}", **types)(x, train=train)
            if i < len(c.depths) - 1:
                x = self._merge(x, f"merge_{i}", types)
        x = nn.LayerNorm(epsilon=c.norm_eps, name="norm", **types)(x)
        tokens = unfold(x, c.freq_ratio)
        return HtsatOutput(jnp.mean(tokens, axis=(1, 2), dtype=jnp.float32).astype(x.dtype), tokens)

    def _patches(self, images, is_longer, norm, types):
        c = self.config
        conv = partial(nn.Conv, padding="VALID", **types)
        whole = conv(c.channels, (c.patch, c.patch), (c.patch, c.patch), name="patch_conv")(images[:, 0, ..., None])
        if not c.fusion:
            return whole
        wide = (c.patch, 3 * c.patch)
        crops = conv(c.channels, wide, wide, name="crop_conv")(images[:, 1:].reshape(-1, c.image, c.image, 1))
        crops = crops.reshape(images.shape[0], 3, *crops.shape[1:])  # [b, 3, rows, columns / 3, channels]
        crops = jnp.concatenate([crops[:, i] for i in range(3)], axis=2)
        crops = jnp.pad(crops, ((0, 0), (0, 0), (0, whole.shape[2] - crops.shape[2]), (0, 0)))
        fused = FeatureFusion(c.channels, c.channels // c.fusion_reduction, norm, name="fusion", **types)(whole, crops)
        longer = jnp.zeros(images.shape[0], bool) if is_longer is None else is_longer
        return jnp.where(longer[:, None, None, None], fused, whole)

    def _merge(self, x, name, types):
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]  # rows first
        x = nn.LayerNorm(epsilon=self.config.norm_eps, name=f"{name}_norm", **types)(jnp.concatenate(corners, axis=-1))
        return nn.Dense(x.shape[-1] // 2, use_bias=False, kernel_init=NORMAL_002, name=name, **types)(x)


class FeatureFusion(nn.Module):
    """2 x s + 2 y (1 - s), s = sigmoid(local(x + y) + global(mean of x + y)): attentional feature fusion (arXiv 2009.14082)."""

    channels: int
    hidden: int
    norm: partial
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b r c d"], y: Float[Array, "b r c d"]) -> Float[Array, "b r c d"]:
        """Mixes two maps."""
        total = x + y

        def squeeze(name, z):
            conv = partial(nn.Conv, kernel_size=(1, 1), dtype=self.dtype, param_dtype=self.param_dtype)
            z = jax.nn.relu(self.norm(name=f"{name}_bn1")(conv(self.hidden, name=f"{name}_conv1")(z)))
            return self.norm(name=f"{name}_bn2")(conv(self.channels, name=f"{name}_conv2")(z))

        s = jax.nn.sigmoid(squeeze("local", total) + squeeze("global", jnp.mean(total, axis=(1, 2), keepdims=True)))
        return 2 * x * s + 2 * y * (1 - s)


def stretch(mel: Float[Array, "b v n m"], frames: int) -> Float[Array, "b v frames m"]:
    """The time axis resampled to `frames`, ends on ends, by cubic convolution with a = -0.75 (torch's bicubic with align_corners)."""
    if mel.shape[2] == frames:
        return mel
    index, weight = cubic_taps(mel.shape[2], frames)
    return jnp.einsum("bvntm,nt->bvnm", mel[:, :, index], jnp.asarray(weight, mel.dtype))


def cubic_taps(n: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """(index, weight), both [frames, 4]: the samples of n that make each new one, borders repeated; positions in float64."""
    position = np.arange(frames) * ((n - 1) / max(frames - 1, 1))
    base = np.floor(position)
    offset = np.abs(position[:, None] - base[:, None] - np.array([-1.0, 0.0, 1.0, 2.0]))  # distance to each tap, 0 to 2
    a = -0.75
    near = ((a + 2) * offset - (a + 3)) * offset**2 + 1
    far = ((a * offset - 5 * a) * offset + 8 * a) * offset - 4 * a
    index = np.clip(base[:, None] + np.array([-1, 0, 1, 2]), 0, n - 1).astype(np.int32)
    return index, np.where(offset <= 1, near, far)


def fold(mel: Float[Array, "b v frames m"], chunks: int) -> Float[Array, "b v r c"]:
    """Chunks of the time axis, each mel by time, one below the other."""
    b, v, frames, mels = mel.shape
    x = mel.reshape(b, v, chunks, frames // chunks, mels)
    return jnp.swapaxes(x, 3, 4).reshape(b, v, chunks * mels, frames // chunks)


def unfold(x: Float[Array, "b r c d"], chunks: int) -> Float[Array, "b t m d"]:
    """Undoes `fold` for a map of tokens: rows (chunk, mel) and columns become time and mel."""
    b, rows, columns, d = x.shape
    x = x.reshape(b, chunks, rows // chunks, columns, d)
    return jnp.swapaxes(x, 2, 3).reshape(b, chunks * columns, rows // chunks, d)


def cut_windows(x: Float[Array, "b r c d"], window: int) -> Float[Array, "b n w d"]:
    """[b, windows, window * window, d], windows and their tokens row by row."""
    b, rows, columns, d = x.shape
    x = x.reshape(b, rows // window, window, columns // window, window, d)
    return jnp.swapaxes(x, 2, 3).reshape(b, -1, window * window, d)


def join_windows(x: Float[Array, "b n w d"], side: int) -> Float[Array, "b r c d"]:
    """Undoes `cut_windows` for a square map."""
    b, _, size, d = x.shape
    window = int(size**0.5)
    x = x.reshape(b, side // window, side // window, window, window, d)
    return jnp.swapaxes(x, 2, 3).reshape(b, side, side, d)


def relative_index(window: int) -> np.ndarray:
    """Row of the bias table for each (query, key) of a window: (dy + window - 1) * (2 window - 1) + dx + window - 1."""
    y, x = np.divmod(np.arange(window * window), window)
    return (y[:, None] - y[None] + window - 1) * (2 * window - 1) + x[:, None] - x[None] + window - 1


def shift_mask(side: int, window: int, shift: int) -> np.ndarray:
    """0 where a (query, key) pair of a shifted window lay in one region before the roll, else -100; [windows, w * w, w * w] float32."""
    region = np.searchsorted([side - window, side - shift], np.arange(side), side="right")
    regions = (3 * region[:, None] + region[None]).reshape(1, side // window, window, side // window, window)
    regions = regions.swapaxes(2, 3).reshape(-1, window * window)
    return np.where(regions[:, :, None] == regions[:, None, :], 0.0, -100.0).astype(np.float32)
