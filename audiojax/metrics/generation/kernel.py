"""Kernel (Inception) distance between two clouds of features: the unbiased squared MMD with a polynomial kernel. NumPy, float64.

    KID = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j),    k(x, y) = (x . y / d + 1)^3

(arXiv 1801.01401). Its expectation does not depend on the number of rows, so it may be taken over small sets, and may come out below 0.
That holds where no row of one set goes with a row of the other. Where row i of both belongs to one prompt, such pairs are left out of the
last mean too (Gretton et al. 2012, Eq. 4); equal sets then have the distance 0.
"""

import numpy as np
from jaxtyping import Float

from audiojax.errors import AudiojaxError
from audiojax.metrics.bootstrap import Interval

BLOCK = 2**23  # numbers of a kernel that are in memory at once: rows are taken in blocks, for a whole one would grow with their square


def kernel_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], *, paired: bool = False) -> float:
    """KID over all rows.

    Args:
      paired: whether row i of both belongs to one prompt.

    Raises:
      AudiojaxError: a set of fewer than two rows, rows of different widths or that are not finite, or pairs that do not go up.
    """
    a, b = _checked(a, b, paired)
    return float(_distances(a, b, np.ones((1, len(a))), np.ones((1, len(b))), paired)[0])


def kernel_interval(
    a: Float[np.ndarray, "n d"],
    b: Float[np.ndarray, "m d"],
    *,
    paired: bool = False,
    draws: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """KID over all rows with a bootstrap interval: rows, or prompts with both their rows, are drawn with replacement.

    A row that is drawn twice is never compared with itself, which would bias every draw upwards.

    Args:
      paired: as in `kernel_distance`.

    Raises:
      AudiojaxError: as `kernel_distance`.
    """
    a, b = _checked(a, b, paired)
    rng = np.random.default_rng(seed)
    times_a, times_b = (  # [1 + draws, n], [1 + draws, m]: every row once, then as often as it is drawn
        np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), size=draws)]) for n in (len(a), len(b))
    )
    estimate, *drawn = _distances(a, b, times_a, times_a if paired else times_b, paired)
    drawn = np.asarray(drawn)[np.isfinite(drawn)]
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]) if len(drawn) else (-np.inf, np.inf)
    return Interval(float(estimate), float(low), float(high), level)


def _checked(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise AudiojaxError(f"features of the shapes {a.shape} and {b.shape}: two or more rows of one width are needed in each set")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise AudiojaxError("the features are not finite")
    if paired and len(a) != len(b):
        raise AudiojaxError(f"{len(a)} and {len(b)} rows are no pairs")
    return a, b


def _distances(a: np.ndarray, b: np.ndarray, times_a: np.ndarray, times_b: np.ndarray, paired: bool) -> Float[np.ndarray, " draws"]:
    """KID of each draw; NaN where one of its means has no pair."""
    within = _mean(a, a, times_a, times_a, others=True) + _mean(b, b, times_b, times_b, others=True)
    return within - 2 * _mean(a, b, times_a, times_b, others=paired)


def _mean(a: np.ndarray, b: np.ndarray, times_a: np.ndarray, times_b: np.ndarray, *, others: bool) -> Float[np.ndarray, " draws"]:
    """Mean of the kernel over pairs of rows, each counted as often as both are drawn; `others` leaves out those of one number."""
    total, step = np.zeros(len(times_a)), max(BLOCK // len(b), 1)
    for first in range(0, len(a), step):
        rows = slice(first, first + step)
        kernel = (a[rows] @ b.T / a.shape[1] + 1) ** 3
        total += np.einsum("kn,kn->k", times_a[:, rows], times_b @ kernel.T)
        if others:
            total -= (times_a[:, rows] * times_b[:, rows]) @ np.diagonal(kernel, offset=first)
    pairs = times_a.sum(axis=1) * times_b.sum(axis=1)
    if others:
        pairs -= np.einsum("kn,kn->k", times_a, times_b)
    return np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan)
