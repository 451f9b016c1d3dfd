"""HiFi-GAN's generator, a vocoder: log-mel spectrograms to waveforms (arXiv 2010.05646).

`HifiGan(PRESETS["audioldm"])` is a linen module. Facts and sizes: "cvssp/audioldm", subfolder vocoder; "microsoft/speecht5_hifigan".
"""

from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from audiojax.nn.conv import Conv1d, ConvTranspose1d
from audiojax.typing import Array

NORMAL_001 = nn.initializers.normal(0.01)


@dataclass(frozen=True)
class HifiGanConfig:
    """Sizes of one generator; the defaults are AudioLDM's.

    Attributes:
      mels: bins of the spectrogram.
      channels: after the first convolution; each stage halves them.
      rates: how many times each stage lengthens the signal.
      kernels: taps of each stage's transposed convolution, at least its rate.
      block_kernels: taps of the residual blocks of a stage, whose outputs are averaged.
      block_dilations: of the convolutions of each of these blocks.
      slope: of the leaky ReLUs; the last one has 0.01.
      normalize: whether the weights hold a mean and a scale of every mel bin, which the spectrogram is normalised with.
      sample_rate: rate (Hz) of the waveform; the network itself does not use it.
    """

    mels: int = 64
    channels: int = 1024
    rates: tuple[int, ...] = (5, 4, 2, 2, 2)
    kernels: tuple[int, ...] = (16, 16, 8, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    block_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    slope: float = 0.1
    normalize: bool = False
    sample_rate: int = 16_000

    @property
    def layers(self) -> int:
        """Convolutions of all residual blocks."""
        return 2 * len(self.rates) * sum(map(len, self.block_dilations))

    def samples(self, frames: int) -> int:
        """Length of the waveform of so many frames: 160 * frames + 32 for AudioLDM's."""
        for rate, kernel in zip(self.rates, self.kernels, strict=True):
            frames = (frames - 1) * rate + kernel - 2 * ((kernel - rate) // 2)
        return frames


PRESETS = {
    "audioldm": HifiGanConfig(),
    "speecht5": HifiGanConfig(mels=80, channels=512, rates=(4, 4, 4, 4), kernels=(8, 8, 8, 8), normalize=True),
    "tiny": HifiGanConfig(channels=64, block_kernels=(3, 7), block_dilations=((1, 3),) * 2),
    "soundworld": HifiGanConfig(channels=256, block_kernels=(3, 7), block_dilations=((1, 3),) * 2),
}


class HifiGanBlock(nn.Module):
    """For each dilation, x = x + conv(leaky(conv_dilated(leaky(x))))."""

    kernel: int
    dilations: tuple[int, ...]
    slope: float
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Refines a signal."""
        conv = partial(Conv1d, x.shape[-1], self.kernel, kernel_init=NORMAL_001, dtype=self.dtype, param_dtype=self.param_dtype)
        for i, dilation in enumerate(self.dilations):
            y = conv(dilation=dilation, name=f"conv1_{i}")(jax.nn.leaky_relu(x, self.slope))
            x = x + conv(name=f"conv2_{i}")(jax.nn.leaky_relu(y, self.slope))
        return x


class HifiGan(nn.Module):
    """Stages of a transposed convolution and the mean of residual blocks with different kernels, between two plain convolutions."""

    config: HifiGanConfig = HifiGanConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, mel: Float[Array, "b t m"], *, train: bool) -> Float[Array, "b samples"]:
        """Waveforms in [-1, 1], float32, `config.samples(t)` long.

        Args:
          mel: log-mel spectrograms as the weights were trained on; AudioLDM's: natural logarithms, magnitudes, 10 ms apart.
          train: changes nothing here.
        """
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if mel.shape[-1] != c.mels:
            raise ValueError(f"spectrograms of {mel.shape[-1]} mel bins, and this vocoder takes {c.mels}")
        if c.normalize:
            mean = self.variable("batch_stats", "mel_mean", jnp.zeros, (c.mels,), jnp.float32)
            scale = self.variable("batch_stats", "mel_scale", jnp.ones, (c.mels,), jnp.float32)
            mel = (mel - mean.value[None, None]) / scale.value[None, None]
        x = Conv1d(c.channels, 7, kernel_init=NORMAL_001, name="conv_pre", **types)(mel)
        for i, (rate, kernel) in enumerate(zip(c.rates, c.kernels, strict=True)):
            features, padding = c.channels // 2 ** (i + 1), (kernel - rate) // 2
            up = ConvTranspose1d(features, kernel, rate, padding, kernel_init=NORMAL_001, name=f"up_{i}", **types)
            x = up(jax.nn.leaky_relu(x, c.slope))
            blocks = enumerate(zip(c.block_kernels, c.block_dilations, strict=True), start=i * len(c.block_kernels))
            refined = [HifiGanBlock(k, d, c.slope, name=f"block_{n}", **types)(x) for n, (k, d) in blocks]
            x = sum(refined) / len(refined)
        x = Conv1d(1, 7, kernel_init=NORMAL_001, name="conv_post", **types)(jax.nn.leaky_relu(x, 0.01))
        return jnp.tanh(x[..., 0].astype(jnp.float32))
