"""The denoiser of single vectors: residual perceptrons that the time scales, shifts and gates (the diffusion head of arXiv 2406.11838).

`ResidualMlp(features, config)` maps noised vectors [b, d] and timesteps [b] to its prediction. What it makes of the time does not depend on
the vectors and is more than half of its work, so a sampler, whose rows share their timesteps, computes it once before its loop:

    modulation = module.apply(params, timesteps, method="modulation")
    output = module.apply(params, x, modulation, method="denoise")
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from audiojax.nn.embed import timestep_sinusoid
from audiojax.typing import Array

Modulation = tuple[Float[Array, "b k"], ...]  # of each block [b, 3 width], then of the output [b, 2 width]
EPS = 1e-6
linear = nn.initializers.xavier_uniform()


@dataclass(frozen=True)
class ResidualMlpConfig:
    """Sizes of the network; the defaults are those of the diffusion head, "LTH14/mar code models/diffloss.py".

    Attributes:
      width: of the hidden vectors.
      blocks: residual blocks.
      frequencies: of the sinusoid that tells the time; an even number.
    """

    width: int = 1_024
    blocks: int = 3
    frequencies: int = 256


class ResidualBlock(nn.Module):
    """x + gate * Linear(SiLU(Linear(LN(x) * (1 + scale) + shift)))."""

    width: int
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.time = nn.Dense(3 * self.width, kernel_init=nn.initializers.zeros, **types)
        self.norm = nn.LayerNorm(epsilon=EPS, **types)
        self.up = nn.Dense(self.width, kernel_init=linear, **types)
        self.down = nn.Dense(self.width, kernel_init=linear, **types)

    def modulation(self, time: Float[Array, "b w"]) -> Float[Array, "b 3w"]:
        """(shift, scale, gate) side by side, zeros before training."""
        return self.time(time)

    def __call__(self, x: Float[Array, "b w"], modulation: Float[Array, "b 3w"]) -> Float[Array, "b w"]:
        """The block on every vector."""
        shift, scale, gate = jnp.split(modulation, 3, axis=-1)
        return x + gate * self.down(nn.silu(self.up(self.norm(x) * (1 + scale) + shift)))


class ResidualMlp(nn.Module):
    """Linear to `width`, residual blocks, a modulated norm, linear back.

    The blocks begin as the identity. The last linear map does not begin at zero, as it does in the published head: a network that predicts
    x_0 would output the zero vector, which has no cosine with anything.

    Attributes:
      features: d, of the vectors that come and go.
    """

    features: int
    config: ResidualMlpConfig = ResidualMlpConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.input = nn.Dense(c.width, kernel_init=linear, **types)
        self.time_in = nn.Dense(c.width, kernel_init=nn.initializers.normal(0.02), **types)
        self.time_out = nn.Dense(c.width, kernel_init=nn.initializers.normal(0.02), **types)
        self.blocks = [ResidualBlock(c.width, **types) for _ in range(c.blocks)]
        self.output_time = nn.Dense(2 * c.width, kernel_init=nn.initializers.zeros, **types)
        self.norm = nn.LayerNorm(epsilon=EPS, use_scale=False, use_bias=False, **types)
        self.output = nn.Dense(self.features, kernel_init=linear, **types)

    def __call__(self, x: Float[Array, "b d"], timesteps: Int[Array, "b"]) -> Float[Array, "b d"]:
        """The prediction for x_t, float32."""
        return self.denoise(x, self.modulation(timesteps))

    def modulation(self, timesteps: Int[Array, "b"]) -> Modulation:
        """What the network makes of the time."""
        time = timestep_sinusoid(timesteps, self.config.frequencies).astype(self.dtype)
        time = nn.silu(self.time_out(nn.silu(self.time_in(time))))
        return (*(block.modulation(time) for block in self.blocks), self.output_time(time))

    def denoise(self, x: Float[Array, "b d"], modulation: Modulation) -> Float[Array, "b d"]:
        """The prediction for x_t, float32; the modulation has a row for each vector, or one for all."""
        *inner, last = modulation
        hidden = self.input(x.astype(self.dtype))
        for block, time in zip(self.blocks, inner, strict=True):
            hidden = block(hidden, time)
        shift, scale = jnp.split(last, 2, axis=-1)
        return self.output(self.norm(hidden) * (1 + scale) + shift).astype(jnp.float32)
