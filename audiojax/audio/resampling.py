"""Another sample rate for waveforms on the device, inside an encoder's jit. Files and single clips are resampled by soxr: see `io`."""

import math
from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

HALF = 64  # zero crossings of the kernel to each side
KAISER = 14.0  # shape of its window: the stop band lies 140 dB below


def resampled(waveform: Float[Array, "b n"], rate: int, to_rate: int) -> Float[Array, "b m"]:
    """Every clip at `to_rate`, band-limited to the lower rate by a windowed sinc; silence around it; ceil(n to_rate / rate) samples.

    Args:
      rate: of the clips, Hz.
    """
    if rate == to_rate:
        return waveform
    common = math.gcd(rate, to_rate)
    up, down = to_rate // common, rate // common
    kernel = _kernel(up, down)
    reach, count = len(kernel) // 2, -(-waveform.shape[1] * up // down)
    spread = (waveform.shape[1] - 1) * up + 1  # with the zeros between the samples
    after = max(0, (count - 1) * down + 1 + reach - spread)
    found = lax.conv_general_dilated(
        waveform.astype(jnp.float32)[:, None],
        jnp.asarray(kernel, jnp.float32)[None, None],
        window_strides=(down,),
        padding=[(reach, after)],
        lhs_dilation=(up,),
        precision=lax.Precision.HIGHEST,
    )
    return found[:, 0, :count]


@cache
def _kernel(up: int, down: int) -> Float[np.ndarray, " taps"]:
    """Symmetric, at the rate that both rates divide; its gain makes up for the zeros between the samples."""
    from scipy.signal import firwin

    widest = max(up, down)
    return firwin(2 * HALF * widest + 1, 1 / widest, window=("kaiser", KAISER)) * up
