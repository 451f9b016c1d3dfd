"""AudioLDM's variational autoencoder: log-mel spectrograms to latents of a quarter of the size each way, and back (arXiv 2301.12503).

`AutoencoderKl(PRESETS["audioldm"])` is a linen module with `encode` and `decode`. Images are NHWC with H = time and W = mel. Facts and
sizes: "cvssp/audioldm-s-full-v2", subfolder vae.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from audiojax.nn.attention import MultiHeadAttention
from audiojax.nn.conv import TORCH_INIT, UpsampleConv
from audiojax.nn.norm import GroupNorm
from audiojax.nn.spatial import PADDING, ResidualBlock
from audiojax.typing import Array, Key

EPSILON = 1e-6  # of all norms
LOGVAR_RANGE = (-30.0, 20.0)


@dataclass(frozen=True)
class VaeConfig:
    """Sizes of one autoencoder; the defaults are AudioLDM's.

    Attributes:
      channels: of each level; every level but the last halves time and mel.
      blocks: residual blocks of a level of the encoder; the decoder has one more.
      latent_channels: features of a latent pixel.
      groups: of the norms; divides all channels.
      scaling_factor: latents are multiplied by it to have about unit deviation, and divided by it before decoding. The network itself does
        not use it; every set of weights has its own.
    """

    channels: tuple[int, ...] = (128, 256, 512)
    blocks: int = 2
    latent_channels: int = 8
    groups: int = 32
    scaling_factor: float = 1.0

    @property
    def stride(self) -> int:
        """Frames, and mel bins, of a latent pixel."""
        return 2 ** (len(self.channels) - 1)

    @property
    def layers(self) -> int:
        """Residual blocks of encoder and decoder."""
        return len(self.channels) * (2 * self.blocks + 1)


PRESETS = {
    "audioldm": VaeConfig(),
    "tiny": VaeConfig(channels=(16, 32, 64), blocks=1, groups=8),
    "soundworld": VaeConfig(channels=(16, 32, 64, 64), blocks=1, groups=8),  # an eighth of the size each way: 48 x 8 pixels of 3.84 s
}


class Moments(NamedTuple):
    """The posterior of the latents, a normal distribution: `mean` and `logvar`, the logarithm of the variance, each [b, t, f, c]."""

    mean: Array
    logvar: Array

    def sample(self, noise: Array | Key) -> Float[Array, "b t f c"]:
        """mean + exp(logvar / 2) * noise.

        Args:
          noise: unit normal numbers of the shape of the mean, or the key to draw them with.
        """
        if jnp.issubdtype(noise.dtype, jax.dtypes.prng_key):
            noise = jax.random.normal(noise, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(0.5 * self.logvar) * noise

    def mode(self) -> Float[Array, "b t f c"]:
        """The most probable latents, which is the mean."""
        return self.mean

    def divergence(self) -> Float[Array, "b t f c"]:
        """KL(posterior || N(0, 1)) = (mean^2 + exp(logvar) - 1 - logvar) / 2 of every latent, in nats."""
        return 0.5 * (jnp.square(self.mean) + jnp.exp(self.logvar) - 1.0 - self.logvar)


class Middle(nn.Module):
    """Residual block, attention of one head over all pixels, residual block."""

    config: VaeConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        """Refines the smallest image."""
        groups, width, types = self.config.groups, x.shape[-1], {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = ResidualBlock(width, groups, EPSILON, name="residual_0", **types)(x)
        tokens = GroupNorm(groups, EPSILON, name="attention_norm", **types)(x).reshape(x.shape[0], -1, width)
        tokens = MultiHeadAttention(1, width, kernel_init=TORCH_INIT, name="attention", **types)(tokens, train=train)
        return ResidualBlock(width, groups, EPSILON, name="residual_1", **types)(x + tokens.reshape(x.shape))


class Encoder(nn.Module):
    """Spectrogram to moments: levels with stride-2 convolutions between them, which pad at the end alone, then the middle."""

    config: VaeConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t m 1"], *, train: bool) -> Float[Array, "b t2 m2 2c"]:
        """Returns means and log variances, side by side, before the quantisation's 1x1 convolution."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = partial(nn.Conv, kernel_size=(3, 3), kernel_init=TORCH_INIT, **types)
        x = conv(c.channels[0], padding=PADDING, name="conv_in")(x)
        for i, features in enumerate(c.channels):
            for j in range(c.blocks):
                x = ResidualBlock(features, c.groups, EPSILON, name=f"down_{i}_{j}", **types)(x)
            if i < len(c.channels) - 1:
                x = conv(features, strides=2, padding=((0, 1), (0, 1)), name=f"downsample_{i}")(x)
        x = Middle(c, name="middle", **types)(x, train=train)
        x = nn.silu(GroupNorm(c.groups, EPSILON, name="norm_out", **types)(x))
        return conv(2 * c.latent_channels, padding=PADDING, name="conv_out")(x)


class Decoder(nn.Module):
    """Latents to spectrogram: the middle, then levels from the deepest with upsampling between them."""

    config: VaeConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t f c"], *, train: bool) -> Float[Array, "b t2 m 1"]:
        """Returns the spectrogram as an image of one channel."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = partial(nn.Conv, kernel_size=(3, 3), padding=PADDING, kernel_init=TORCH_INIT, **types)
        x = conv(c.channels[-1], name="conv_in")(x)
        x = Middle(c, name="middle", **types)(x, train=train)
        for i, features in enumerate(reversed(c.channels)):
            for j in range(c.blocks + 1):
                x = ResidualBlock(features, c.groups, EPSILON, name=f"up_{i}_{j}", **types)(x)
            if i < len(c.channels) - 1:
                x = UpsampleConv(features, name=f"upsample_{i}", **types)(x)
        x = nn.silu(GroupNorm(c.groups, EPSILON, name="norm_out", **types)(x))
        return conv(1, name="conv_out")(x)


class AutoencoderKl(nn.Module):
    """Encoder, decoder and the 1x1 convolutions on either side of the latents. Latents here are not scaled by `scaling_factor`."""

    config: VaeConfig = VaeConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.encoder, self.decoder = Encoder(c, **types), Decoder(c, **types)
        self.quant_conv = nn.Conv(2 * c.latent_channels, (1, 1), kernel_init=TORCH_INIT, **types)
        self.post_quant_conv = nn.Conv(c.latent_channels, (1, 1), kernel_init=TORCH_INIT, **types)

    def encode(self, mel: Float[Array, "b t m"], *, train: bool) -> Moments:
        """The posterior of log-mel spectrograms, in float32. Frames and mel bins are multiples of `config.stride` (ValueError)."""
        stride = self.config.stride
        if mel.shape[1] % stride or mel.shape[2] % stride:
            raise ValueError(f"{mel.shape[1]} frames of {mel.shape[2]} mel bins, and both have to be multiples of {stride}")
        moments = self.quant_conv(self.encoder(mel[..., None], train=train)).astype(jnp.float32)
        mean, logvar = jnp.split(moments, 2, axis=-1)
        return Moments(mean, jnp.clip(logvar, *LOGVAR_RANGE))

    def decode(self, latents: Float[Array, "b t f c"], *, train: bool) -> Float[Array, "b t2 m"]:
        """Log-mel spectrograms of latents, in float32."""
        return self.decoder(self.post_quant_conv(latents), train=train)[..., 0].astype(jnp.float32)

    def __call__(
        self, mel: Float[Array, "b t m"], noise: Array | Key | None = None, *, train: bool
    ) -> tuple[Float[Array, "b t m"], Moments]:
        """(reconstruction, posterior): of the mode, or of a sample where `noise` (see `Moments.sample`) is given."""
        moments = self.encode(mel, train=train)
        return self.decode(moments.mode() if noise is None else moments.sample(noise), train=train), moments
