"""Bootstrap intervals over per-query values: one mean, a paired difference, a paired ratio, any number made of means. NumPy only.

Queries are drawn with replacement, or whole clusters of them (all captions of a clip together, since they share its difficulty).
Values of several seeds, [seeds, q], are averaged over seeds first: the interval then speaks of queries, not of training runs.
Intervals are percentiles of the drawn statistic; the same arguments give the same interval.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from audiojax.errors import AudiojaxError

BLOCK = 256  # draws held in memory at once

Statistic = Callable[[Float[np.ndarray, "k draws"]], Float[np.ndarray, " draws"]]


@dataclass(frozen=True)
class Interval:
    """An estimate from all queries, with the bounds that hold `level` of the draws."""

    estimate: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(values: Float[np.ndarray, "*s q"], clusters: Int[np.ndarray, " q"] | None = None, **options) -> Interval:
    """Interval of the mean.

    Args:
      values: per query, or [seeds, q].
      clusters: label of each query's cluster, for instance its clip; None draws single queries.
      options: `draws` (default 2,000), `level` (0.95), `seed` (0).

    Raises:
      AudiojaxError: no queries, NaN, or shapes that do not fit.
    """
    means, level = _drawn_means([values], clusters, **options)
    return _interval(means[0], level)


def difference_interval(
    a: Float[np.ndarray, "*s q"], b: Float[np.ndarray, "*s q"], clusters: Int[np.ndarray, " q"] | None = None, **options
) -> Interval:
    """Interval of mean(a) - mean(b), both on the same drawn queries. Arguments as in `mean_interval`."""
    means, level = _drawn_means([a, b], clusters, **options)
    return _interval(means[0] - means[1], level)


def ratio_interval(
    a: Float[np.ndarray, "*s q"], b: Float[np.ndarray, "*s q"], clusters: Int[np.ndarray, " q"] | None = None, **options
) -> Interval:
    """Interval of mean(a) / mean(b), both on the same drawn queries. A draw where mean(b) is 0 counts as infinite.

    Arguments as in `mean_interval`; AudiojaxError also where mean(b) over all queries is 0.
    """
    means, level = _drawn_means([a, b], clusters, **options)
    if means[1, 0] == 0:
        raise AudiojaxError("the ratio is undefined: the mean of the second system is 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(means[1] == 0, np.inf, means[0] / means[1])
    return _interval(ratio, level)


def statistic_interval(
    counts: Float[np.ndarray, "k *s q"], statistic: Statistic, clusters: Int[np.ndarray, " q"] | None = None, **options
) -> Interval:
    """Interval of a number that is made of the means of several values per query, such as a ratio of two sums.

    Args:
      counts: the values.
      statistic: means [k, draws] -> the number in each draw; draws where it is NaN are left out.
      clusters, options: as in `mean_interval`.

    Raises:
      AudiojaxError: as `mean_interval`, or the number is NaN over all queries.
    """
    means, level = _drawn_means(list(counts), clusters, **options)
    drawn = statistic(means)
    if np.isnan(drawn[0]):
        raise AudiojaxError("the number is undefined over all queries")
    return _interval(drawn, level)


def _drawn_means(systems, clusters, *, draws: int = 2_000, level: float = 0.95, seed: int = 0) -> tuple[np.ndarray, float]:
    """(means [systems, 1 + draws], level); column 0 holds the means over all queries."""
    rows = [np.asarray(values, np.float64) for values in systems]
    rows = np.stack([values.mean(axis=0) if values.ndim == 2 else values for values in _same_length(rows)])  # [systems, q]
    if np.isnan(rows).any():
        raise AudiojaxError(f"{np.isnan(rows).any(axis=0).sum()} of {rows.shape[1]} queries have NaN values")
    labels = np.arange(rows.shape[1]) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1].reshape(-1)
    if labels.shape != rows.shape[1:]:
        raise AudiojaxError(f"{labels.size} cluster labels for {rows.shape[1]} queries")
    sums = np.stack([np.bincount(labels, weights=row) for row in rows] + [np.bincount(labels).astype(np.float64)])  # [systems + 1, c]
    count = sums.shape[1]
    rng = np.random.default_rng(seed)
    totals = [sums.sum(axis=1, keepdims=True)]
    for start in range(0, draws, BLOCK):
        times = rng.multinomial(count, np.full(count, 1 / count), size=min(BLOCK, draws - start))  # [block, c]
        totals.append(sums @ times.T)
    totals = np.concatenate(totals, axis=1)  # [systems + 1, 1 + draws]
    return totals[:-1] / totals[-1:], level


def _same_length(rows: list[np.ndarray]) -> list[np.ndarray]:
    if any(values.ndim not in (1, 2) or values.shape[-1] != rows[0].shape[-1] or values.size == 0 for values in rows):
        raise AudiojaxError(f"expected values per query, [q] or [seeds, q], of equal length; got {[values.shape for values in rows]}")
    return rows


def _interval(statistic: np.ndarray, level: float) -> Interval:
    tail = (1 - level) / 2
    drawn = statistic[1:][~np.isnan(statistic[1:])]
    low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")  # a drawn value, so that infinities stay in order
    return Interval(float(statistic[0]), float(low), float(high), level)
