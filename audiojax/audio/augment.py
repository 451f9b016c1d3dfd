"""Augmentation on the device, inside the training step: SpecAugment on log-mel, mixup, gain and shift on waveforms.

Every function is pure, has static shapes and takes either one key for the batch (row i then uses fold_in(key, i)) or one key per row, which
makes a row's draw independent of how the batch is split over devices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from audiojax.typing import Key


class Mixup(NamedTuple):
    """Mixed clips with what is needed to mix their targets: target = weight * own + (1 - weight) * that of `partner`."""

    waveform: Float[Array, "b n"]
    partner: Int[Array, " b"]
    weight: Float[Array, " b"]


def row_keys(key: Key, rows: int) -> Key:
    """One key per row [rows]: `key` itself when it already is one per row, else fold_in(key, row).

    Raises:
      ValueError: keys are given per row, but not `rows` of them.
    """
    if key.ndim == 0:
        return jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.arange(rows))
    if key.shape != (rows,):
        raise ValueError(f"expected one key or {rows} keys, one per row; got shape {key.shape}")
    return key


def spec_augment(
    key: Key,
    mel: Float[Array, "b t f"],
    *,
    time_stripes: int = 2,
    time_width: int = 64,
    mel_stripes: int = 2,
    mel_width: int = 8,
) -> Float[Array, "b t f"]:
    """Sets random stripes of each example to 0 (SpecAugment, arXiv:1904.08779; sampling as in torchlibrosa, the "PANNs code").

    A stripe's width is U{0 .. width - 1} and its start U{0 .. size - width - 1}. On an axis shorter than the largest width, the width is
    drawn below the axis's size, so that something always stays.

    Args:
      key: one key, or one per row.
      mel: log-mel after the first BatchNorm, where 0 is the mean.
      time_stripes: stripes over time.
      time_width: their widths stay below it, in frames.
      mel_stripes: stripes over mel bands.
      mel_width: their widths stay below it, in bands.
    """
    _, frames, bands = mel.shape

    def drop(row_key: Key, example: Float[Array, "t f"]) -> Float[Array, "t f"]:
        time_key, mel_key = jax.random.split(row_key)
        hidden = _stripes(time_key, frames, time_stripes, time_width)[:, None] | _stripes(mel_key, bands, mel_stripes, mel_width)[None, :]
        return jnp.where(hidden, jnp.zeros_like(example), example)

    return jax.vmap(drop)(row_keys(key, mel.shape[0]), mel)


def _stripes(key: Key, size: int, count: int, width: int) -> Array:
    """Bool [size], True where one of `count` stripes lies."""
    width_key, start_key = jax.random.split(key)
    widths = jax.random.randint(width_key, (count,), 0, max(1, min(width, size)))
    starts = jax.random.randint(start_key, (count,), 0, size - widths)
    position = jnp.arange(size)[None, :]
    return jnp.any((position >= starts[:, None]) & (position < (starts + widths)[:, None]), axis=0)


def mixup(
    key: Key,
    waveform: Float[Array, "b n"],
    *,
    alpha: float | None = 0.4,
    weight_range: tuple[float, float] = (0.5, 1.0),
    energy_aware: bool = True,
) -> Mixup:
    """Each clip mixed with another one of the batch.

    The weight w of the own clip is Beta(alpha, alpha) folded to [0.5, 1] (the own clip stays the louder one), or uniform in `weight_range`
    when alpha is None. Plain mixing is w x1 + (1 - w) x2. Energy-aware mixing (between-class learning, arXiv:1711.10282) weighs by what is
    heard: with levels g1, g2 in dB and p = 1 / (1 + 10^((g1 - g2) / 20) (1 - w) / w), it is (p x1 + (1 - p) x2) / sqrt(p^2 + (1 - p)^2).

    Args:
      key: one key, or one per row.
      waveform: clips in [-1, 1]; a batch of one is returned as it is, with weight 1.
      alpha: concentration of the Beta law, or None.
      weight_range: bounds of the uniform law, used when alpha is None.
      energy_aware: weigh by level; otherwise by sample values.
    """
    rows = waveform.shape[0]
    if rows == 1:
        return Mixup(waveform, jnp.zeros((1,), jnp.int32), jnp.ones((1,), waveform.dtype))
    low, high = weight_range

    def draw(row_key: Key):
        offset_key, weight_key = jax.random.split(row_key)
        offset = jax.random.randint(offset_key, (), 1, rows)
        if alpha is None:
            return offset, jax.random.uniform(weight_key, (), waveform.dtype, low, high)
        beta = jax.random.beta(weight_key, alpha, alpha, (), waveform.dtype)
        return offset, jnp.maximum(beta, 1 - beta)

    offset, weight = jax.vmap(draw)(row_keys(key, rows))
    partner = (jnp.arange(rows) + offset) % rows
    other = waveform[partner]
    if not energy_aware:
        return Mixup(weight[:, None] * waveform + (1 - weight[:, None]) * other, partner, weight)
    level = jnp.sqrt(jnp.mean(jnp.square(waveform), axis=1))  # [b], RMS
    own = weight * jnp.maximum(level[partner], 1e-8)  # p = w g2 / (w g2 + (1 - w) g1), the formula without its divisions
    share = own / (own + (1 - weight) * jnp.maximum(level, 1e-8))
    norm = jnp.sqrt(jnp.square(share) + jnp.square(1 - share))
    mixed = (share[:, None] * waveform + (1 - share[:, None]) * other) / norm[:, None]
    return Mixup(mixed, partner, weight)


def random_gain(key: Key, waveform: Float[Array, "b n"], *, low_db: float = -6.0, high_db: float = 6.0) -> Float[Array, "b n"]:
    """Each clip times a gain that is uniform in dB, cut to [-1, 1]."""
    gain_db = jax.vmap(lambda k: jax.random.uniform(k, (), waveform.dtype, low_db, high_db))(row_keys(key, waveform.shape[0]))
    return jnp.clip(waveform * jnp.power(10.0, gain_db / 20)[:, None], -1, 1)


def random_shift(key: Key, waveform: Float[Array, "b n"], *, max_samples: int) -> Float[Array, "b n"]:
    """Each clip rolled in time by U{-max_samples .. max_samples}; what leaves at one end enters at the other."""

    def roll(row_key: Key, clip: Float[Array, " n"]) -> Float[Array, " n"]:
        return jnp.roll(clip, jax.random.randint(row_key, (), -max_samples, max_samples + 1))

    return jax.vmap(roll)(row_keys(key, waveform.shape[0]), waveform)
