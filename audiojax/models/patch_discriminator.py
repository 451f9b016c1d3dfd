"""A discriminator of spectrogram patches: every logit judges one stretch of time and frequency (PatchGAN, arXiv 1611.07004).

`PatchDiscriminator(PRESETS["audioldm"])` is a linen module. Sizes: "CompVis/taming-transformers code", NLayerDiscriminator.
"""

from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from audiojax.typing import Array

KERNEL = (4, 4)
PADDING = ((1, 1), (1, 1))
SLOPE = 0.2  # of the leaky ReLUs
MOST_GROWTH = 8  # of the channels, over those of the first layer
NORMAL_002 = nn.initializers.normal(0.02)


def around_one(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
    """First scales of the norms, normal with mean 1 and deviation 0.02."""
    return 1.0 + NORMAL_002(key, shape, dtype)


@dataclass(frozen=True)
class PatchDiscriminatorConfig:
    """Sizes of one discriminator; the defaults are AudioLDM's.

    Attributes:
      channels: of the first layer; every later one doubles them, up to eightfold.
      layers: of stride 2; one of stride 1 follows them.
    """

    channels: int = 64
    layers: int = 3


PRESETS = {
    "audioldm": PatchDiscriminatorConfig(),
    "tiny": PatchDiscriminatorConfig(channels=16, layers=2),
}


class PatchDiscriminator(nn.Module):
    """4x4 convolutions with batch norms and leaky ReLUs between them; the first and the last have no norm.

    The norms always take the statistics of the batch that is judged, for a discriminator is of use in training alone; their running
    averages need not be kept. With `axis_name` the batch is that of all devices.
    """

    config: PatchDiscriminatorConfig = PatchDiscriminatorConfig()
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, mel: Float[Array, "b t m"]) -> Float[Array, "b t2 m2"]:
        """Logits in float32, high where a patch looks real. Both sides of the spectrogram are at least 2^(layers + 1)."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = partial(nn.Conv, kernel_size=KERNEL, padding=PADDING, kernel_init=NORMAL_002, **types)
        norm = partial(nn.BatchNorm, use_running_average=False, epsilon=1e-5, scale_init=around_one, axis_name=self.axis_name, **types)
        x = jax.nn.leaky_relu(conv(self.config.channels, strides=2, name="conv_0")(mel[..., None]), SLOPE)
        for i in range(1, self.config.layers + 1):
            features, stride = self.config.channels * min(2**i, MOST_GROWTH), 2 if i < self.config.layers else 1
            x = norm(name=f"norm_{i}")(conv(features, strides=stride, use_bias=False, name=f"conv_{i}")(x))
            x = jax.nn.leaky_relu(x, SLOPE)
        return conv(1, name="conv_out")(x)[..., 0].astype(jnp.float32)


def judge(discriminator: PatchDiscriminator, params: dict, mel: Float[Array, "b t m"]) -> Float[Array, "b t2 m2"]:
    """Logits of spectrograms, without the running averages that nobody reads."""
    logits, _ = discriminator.apply({"params": params}, mel, mutable=["batch_stats"])
    return logits
