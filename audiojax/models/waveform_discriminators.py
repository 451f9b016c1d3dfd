"""HiFi-GAN's discriminators of waveforms: by period and by scale (arXiv 2010.05646, section 2.3).

`WaveformDiscriminators(PRESETS["hifigan"])` is a linen module: waveforms to a `Verdict` of each sub-discriminator. Parameters are the
plain kernels; their weight norm and spectral norm are functions of the parameters, see `audiojax.nn.kernel_norm`. Sizes: "jik876/hifi-gan
code".
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from audiojax.nn.conv import TORCH_INIT
from audiojax.typing import Array


class ScaleLayer(NamedTuple):
    """A convolution along time: output `channels`, taps, stride and groups of channels."""

    channels: int
    kernel: int
    stride: int
    groups: int


@dataclass(frozen=True)
class WaveformDiscriminatorConfig:
    """Sizes of all sub-discriminators; the defaults are HiFi-GAN's.

    Attributes:
      periods: samples from row to row of the images that are judged, one sub-discriminator each.
      period_channels: of its layers, all but the last of which take every third row.
      period_kernel: rows that a layer sees.
      scales: how many sub-discriminators hear the waveform, each later one at half the rate of the one before.
      scale_layers: of each of them.
      slope: of the leaky ReLUs.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    period_kernel: int = 5
    scales: int = 3
    scale_layers: tuple[ScaleLayer, ...] = (
        ScaleLayer(128, 15, 1, 1),
        ScaleLayer(128, 41, 2, 4),
        ScaleLayer(256, 41, 2, 16),
        ScaleLayer(512, 41, 4, 16),
        ScaleLayer(1024, 41, 4, 16),
        ScaleLayer(1024, 41, 1, 16),
        ScaleLayer(1024, 5, 1, 1),
    )
    slope: float = 0.1


PRESETS = {
    "hifigan": WaveformDiscriminatorConfig(),
    "tiny": WaveformDiscriminatorConfig(
        periods=(2, 5),
        period_channels=(8, 16, 32),
        scales=2,
        scale_layers=(ScaleLayer(8, 15, 1, 1), ScaleLayer(16, 21, 4, 2), ScaleLayer(32, 21, 4, 4), ScaleLayer(32, 5, 1, 1)),
    ),
}


class Verdict(NamedTuple):
    """What one sub-discriminator says.

    Attributes:
      logits: [b, n], high where the waveform sounds real.
      features: of every layer, the logits as the last, each [b, ...].
    """

    logits: Array
    features: tuple[Array, ...]


class PeriodDiscriminator(nn.Module):
    """The waveform laid out in rows of `period` samples; the convolutions see each column alone."""

    period: int
    config: WaveformDiscriminatorConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: Float[Array, "b t"]) -> Verdict:
        """Judges waveforms; a last row that is not full is filled by reflection."""
        c = self.config
        conv = partial(nn.Conv, kernel_init=TORCH_INIT, dtype=self.dtype, param_dtype=self.param_dtype)
        x = jnp.pad(waveform, ((0, 0), (0, -waveform.shape[1] % self.period)), mode="reflect")
        x = x.reshape(x.shape[0], -1, self.period, 1)  # [b, rows, period, 1]
        features, around, last = [], (c.period_kernel - 1) // 2, len(c.period_channels) - 1
        for i, channels in enumerate(c.period_channels):
            layer = conv(channels, (c.period_kernel, 1), (1 if i == last else 3, 1), padding=((around, around), (0, 0)), name=f"conv_{i}")
            x = jax.nn.leaky_relu(layer(x), c.slope)
            features.append(x)
        return _verdict(conv(1, (3, 1), padding=((1, 1), (0, 0)), name="conv_out")(x), features)


class ScaleDiscriminator(nn.Module):
    """Long grouped convolutions along the waveform."""

    config: WaveformDiscriminatorConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: Float[Array, "b t"]) -> Verdict:
        """Judges waveforms."""
        x, features = waveform[:, None, :, None], []  # [b, 1, t, 1]
        conv = partial(nn.Conv, kernel_init=TORCH_INIT, dtype=self.dtype, param_dtype=self.param_dtype)
        for i, (channels, kernel, stride, groups) in enumerate(self.config.scale_layers):
            padding, name = ((0, 0), ((kernel - 1) // 2,) * 2), f"conv_{i}"
            layer = conv(channels, (1, kernel), (1, stride), padding=padding, feature_group_count=groups, name=name)
            x = jax.nn.leaky_relu(layer(x), self.config.slope)
            features.append(x)
        return _verdict(conv(1, (1, 3), padding=((0, 0), (1, 1)), name="conv_out")(x), features)


class WaveformDiscriminators(nn.Module):
    """All sub-discriminators: "period_<p>", then "scale_<i>", which hears means of four samples at half the rate of the one before."""

    config: WaveformDiscriminatorConfig = WaveformDiscriminatorConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: Float[Array, "b t"]) -> tuple[Verdict, ...]:
        """Judges waveforms, which are longer than the longest period (for the reflection)."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        verdicts = [PeriodDiscriminator(period, c, name=f"period_{period}", **types)(waveform) for period in c.periods]
        x = waveform[..., None]
        for i in range(c.scales):
            x = nn.avg_pool(x, (4,), (2,), padding=((2, 2),)) if i else x
            verdicts.append(ScaleDiscriminator(c, name=f"scale_{i}", **types)(x[..., 0]))
        return tuple(verdicts)


def _verdict(logits: Array, features: list[Array]) -> Verdict:
    return Verdict(logits.reshape(logits.shape[0], -1).astype(jnp.float32), (*features, logits))
