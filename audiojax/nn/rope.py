"""Rotary positions (arXiv 2104.09864) in the half-split form of LLaMA's public weights: feature i is rotated with feature i + d / 2."""

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from audiojax.typing import Array


@dataclass(frozen=True)
class RopeScaling:
    """How the frequencies of a model are lowered for contexts longer than those of its pretraining.

    Attributes:
      kind: "linear": all are divided by `factor`. "llama3": those that turn fewer than `low` times in the pretrained context are
        divided by `factor`, those that turn more than `high` times stay, and between the two the divided and the plain are mixed.
      pretrained: positions of the pretrained context.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low: float = 1.0
    high: float = 4.0
    pretrained: int = 8192


def rope_frequencies(width: int, theta: float, scaling: RopeScaling | None = None) -> Float[np.ndarray, "d/2"]:
    """Radians per position of each pair of features: theta^(-2i / width), scaled. A NumPy constant in float32, from float64.

    Raises:
      ValueError: an odd width.
    """
    if width % 2:
        raise ValueError(f"rotary positions turn pairs of features, and a head of width {width} is odd")
    plain = theta ** (-np.arange(0, width, 2, dtype=np.float64) / width)
    if scaling is None:
        return plain.astype(np.float32)
    kept = np.zeros_like(plain)
    if scaling.kind == "llama3":
        turns = scaling.pretrained * plain / (2 * math.pi)
        kept = np.clip((turns - scaling.low) / (scaling.high - scaling.low), 0, 1)
    return (kept * plain + (1 - kept) * plain / scaling.factor).astype(np.float32)


def rope_table(positions: Int[Array, "b l"], frequencies: Float[np.ndarray, "d/2"]) -> tuple[Float[Array, "b l d/2"], ...]:
    """(cosines, sines) of every position's angles, in float32."""
    angles = positions[..., None].astype(jnp.float32) * frequencies[None, None]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Float[Array, "b l h d"], table: tuple[Float[Array, "b l d/2"], ...]) -> Float[Array, "b l h d"]:
    """Every head of x turned by its position's angles; computed in float32, returned in the dtype of x."""
    cosine, sine = (part[:, :, None] for part in table)  # [b, l, 1, d/2]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1).astype(x.dtype)
