"""Convolutions in the forms that run fastest: sub-pixel kernels for growing images and signals, two dimensions for signals.

Each form stands beside the definition that it equals: `upsample_conv` and `upsample_conv_plain`, `conv_transpose` and
`conv_transpose_plain`. Channels are last; kernels are [..., in, out].

`image_jit` is `jax.jit` for the inference of networks that are mostly convolutions of images.
"""

from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from audiojax.typing import Array

TORCH_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # torch's first weights of linear maps and convolutions
NHWC = ("NHWC", "HWIO", "NHWC")
# Which of two taps on the small image each of three taps on the doubled one falls on: [phase, small tap, tap].
TAPS = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)


@cache
def image_options() -> Mapping[str, str]:
    """Compiler options for convolutions of images in inference: on CPUs XLA's own convolutions instead of those of its library (YNNPACK).

    CNN14 is 1.2 times faster with them and AudioLDM's autoencoder 1.1 times; its U-Net, an HTSAT and 1-D networks are slower (jaxlib
    0.10.2). {} on other devices, and where this jaxlib does not know the option.
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def image_jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit(function, **options)` with `image_options`, which ask for the device at the first call; inside another jit without them."""

    @cache
    def jitted(inside: bool) -> Any:
        return jax.jit(function, compiler_options=None if inside else image_options(), **options)

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        # an array made inside a jit is traced even where no argument is; under vmap and grad only arguments are
        inside = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((jnp.zeros(()), arguments, named)))
        return jitted(inside)(*arguments, **named)

    return call


def conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "y x c d"],
    *,
    stride: int = 1,
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
) -> Float[Array, "b h2 w2 d"]:
    """Convolution (correlation) of images with zeros around them."""
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, rhs_dilation=dilation, dimension_numbers=NHWC)


def upsample_conv(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b 2h 2w d"]:
    """The image doubled by repeating rows and columns, then a 3x3 convolution: on CPUs without ever making the doubled image."""
    return lax.platform_dependent(x, kernel, cpu=upsample_conv_phases, default=upsample_conv_plain)


def upsample_conv_plain(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b 2h 2w d"]:
    """`upsample_conv` as it is defined."""
    return conv(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2), kernel, padding=((1, 1), (1, 1)))


def upsample_conv_phases(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b 2h 2w d"]:
    """`upsample_conv` as four 2x2 convolutions of the small image, one for each place in a doubled pixel: 16 products instead of 36."""
    taps = jnp.asarray(TAPS, kernel.dtype)
    small = jnp.einsum("pai,qbj,ijco->pqabco", taps, taps, kernel)  # [row phase, column phase, 2, 2, in, out]
    rows = [[conv(x, small[p, q], padding=((1 - p, p), (1 - q, q))) for q in (0, 1)] for p in (0, 1)]
    b, h, w, _ = x.shape
    doubled = jnp.stack([jnp.stack(columns, axis=3) for columns in rows], axis=2)  # [b, h, 2, w, 2, out]
    return doubled.reshape(b, 2 * h, 2 * w, -1)


def conv_transpose(x: Float[Array, "b t c"], kernel: Float[Array, "k c d"], *, stride: int, padding: int) -> Float[Array, "b t2 d"]:
    """Convolution of a signal spread out by `stride`, t2 = (t - 1) * stride + k - 2 * padding samples (torch's ConvTranspose1d).

    One convolution of the signal as it is gives the `stride` samples that begin at each position as channels; the spread signal, which is
    mostly zeros, is never made.

    Args:
      kernel: runs along the spread signal: against torch's it is turned round.
    """
    width, _, features = kernel.shape
    taps = -(-width // stride)  # positions of x that one output sample sees
    kernel = jnp.pad(kernel, ((taps * stride - width, 0), (0, 0), (0, 0)))
    kernel = jnp.flip(kernel.reshape(taps, stride, *kernel.shape[1:]), axis=1)  # [taps, phase, in, out]
    kernel = jnp.swapaxes(kernel, 1, 2).reshape(1, taps, x.shape[-1], stride * features)
    y = conv(x[:, None], kernel, padding=((0, 0), (taps - 1, taps - 1)))  # [b, 1, t + taps - 1, stride * out]
    y = y.reshape(x.shape[0], -1, features)
    return y[:, padding : (x.shape[1] - 1) * stride + width - padding]


def conv_transpose_plain(x: Float[Array, "b t c"], kernel: Float[Array, "k c d"], *, stride: int, padding: int) -> Float[Array, "b t2 d"]:
    """`conv_transpose` as it is defined."""
    around = kernel.shape[0] - 1 - padding
    return lax.conv_general_dilated(x, kernel, (1,), [(around, around)], lhs_dilation=(stride,), dimension_numbers=("NWC", "WIO", "NWC"))


class UpsampleConv(nn.Module):
    """An image doubled in both directions (nearest neighbour), then a 3x3 convolution. Parameters are those of the convolution."""

    features: int
    kernel_init: nn.initializers.Initializer = TORCH_INIT
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2h 2w d"]:
        """Doubles both sides."""
        kernel, bias = _parameters(self, (3, 3, x.shape[-1], self.features))
        return upsample_conv(x.astype(self.dtype), kernel) + bias[None, None, None]


class Conv1d(nn.Module):
    """Convolution along time that keeps the length; computed as that of an image of height 1.

    Attributes:
      width: taps, an odd number.
    """

    features: int
    width: int
    dilation: int = 1
    kernel_init: nn.initializers.Initializer = TORCH_INIT
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t d"]:
        """Filters a signal with zeros around it."""
        kernel, bias = _parameters(self, (self.width, x.shape[-1], self.features))
        around = self.dilation * (self.width - 1) // 2
        y = conv(x.astype(self.dtype)[:, None], kernel[None], padding=((0, 0), (around, around)), dilation=(1, self.dilation))
        return y[:, 0] + bias[None, None]


class ConvTranspose1d(nn.Module):
    """`conv_transpose` with a bias."""

    features: int
    width: int
    stride: int
    padding: int
    kernel_init: nn.initializers.Initializer = TORCH_INIT
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t2 d"]:
        """Lengthens a signal about `stride` times."""
        kernel, bias = _parameters(self, (self.width, x.shape[-1], self.features))
        return conv_transpose(x.astype(self.dtype), kernel, stride=self.stride, padding=self.padding) + bias[None, None]


def _parameters(module: nn.Module, shape: tuple[int, ...]) -> tuple[Array, Array]:
    kernel = module.param("kernel", module.kernel_init, shape, module.param_dtype)
    bias = module.param("bias", nn.initializers.zeros, shape[-1:], module.param_dtype)
    return kernel.astype(module.dtype), bias.astype(module.dtype)
