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


def kernel_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], *, paired: bool = False) -> float:
    """KID over all rows.

    Args:
      paired: whether row i of both belongs to one prompt.

    Raises:
      AudiojaxError: a set of fewer than two rows, rows of different widths or that are not finite, or pairs that do not go up.
    """
    return _distance(*_kernels(a, b, paired), paired)


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
    within_a, within_b, across = _kernels(a, b, paired)
    rng = np.random.default_rng(seed)
    times_a, times_b = (
        rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64) for n in across.shape
    )  # [draws, n], [draws, m]
    if paired:
        times_b = times_a
        cross = _drawn_mean(across, times_a)
    else:
        cross = np.einsum("kn,kn->k", times_a, times_b @ across.T) / across.size
    drawn = _drawn_mean(within_a, times_a) + _drawn_mean(within_b, times_b) - 2 * cross
    drawn = drawn[np.isfinite(drawn)]
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]) if len(drawn) else (-np.inf, np.inf)
    return Interval(_distance(within_a, within_b, across, paired), float(low), float(high), level)


def _kernels(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise AudiojaxError(f"features of the shapes {a.shape} and {b.shape}: two or more rows of one width are needed in each set")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise AudiojaxError("the features are not finite")
    if paired and len(a) != len(b):
        raise AudiojaxError(f"{len(a)} and {len(b)} rows are no pairs")
    return _kernel(a, a), _kernel(b, b), _kernel(a, b)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _distance(within_a: np.ndarray, within_b: np.ndarray, across: np.ndarray, paired: bool) -> float:
    cross = _others(across) if paired else across.mean()
    return float(_others(within_a) + _others(within_b) - 2 * cross)


def _others(kernel: np.ndarray) -> float:
    """Mean of the kernel over rows of different numbers."""
    return (kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1))


def _drawn_mean(kernel: np.ndarray, times: np.ndarray) -> Float[np.ndarray, " draws"]:
    """Mean of the kernel over pairs of different rows, each counted as often as it is drawn; NaN where only one row is drawn."""
    total = np.einsum("kn,kn->k", times, times @ kernel) - np.square(times) @ np.diag(kernel)
    pairs = np.square(times.sum(axis=1)) - np.square(times).sum(axis=1)
    return np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan)
