"""Frechet distance between two clouds of features, taken as Gaussians: FD with one vector a clip, FAD with one a frame. NumPy, float64.

    d = |mu_1 - mu_2|^2 + Tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))        (arXiv 1706.08500; of sound, arXiv 1812.08466)

No root of a matrix is taken. With covariances C = F^T F, the trace of (C_1 C_2)^(1/2) is the sum of the singular values of F_1 F_2^T. That
also holds where a set has no more rows than features, and loses no digits there, while the root of a singular product does.
"""

import numpy as np
from jaxtyping import Float

from audiojax.errors import AudiojaxError


class Moments:
    """Count, mean and covariance of rows that arrive in blocks and are not kept.

    They are held as the triangle R of the QR decomposition of [1, rows]: its first line gives the mean, the others a factor of the
    covariance, so that nothing large is subtracted from something as large.

    Attributes:
      width: features of a row.
      count: rows so far.
    """

    def __init__(self, width: int):
        self.width, self.count = width, 0
        self._triangle = np.zeros((0, 1 + width))
        self._waiting: list[np.ndarray] = []

    def add(self, rows: Float[np.ndarray, "n d"]) -> None:
        """Takes further rows.

        Raises:
          AudiojaxError: they are no rows of that many finite numbers.
        """
        rows = np.asarray(rows, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise AudiojaxError(f"features of the shape {rows.shape}: rows of {self.width} are needed")
        if not np.isfinite(rows).all():
            raise AudiojaxError(f"{(~np.isfinite(rows)).any(axis=1).sum()} of {len(rows)} rows of features are not finite")
        self._waiting.append(np.column_stack([np.ones(len(rows)), rows]))
        self.count += len(rows)
        if sum(map(len, self._waiting)) > 4 * self.width:
            self._reduce()

    @property
    def mean(self) -> Float[np.ndarray, " d"]:
        """Mean of the rows.

        Raises:
          AudiojaxError: there are none.
        """
        self._require(1)
        return self._triangle[0, 1:] / self._triangle[0, 0]

    @property
    def factor(self) -> Float[np.ndarray, "r d"]:
        """F with F^T F = np.cov(rows, rowvar=False).

        Raises:
          AudiojaxError: fewer than two rows.
        """
        self._require(2)
        return self._triangle[1:, 1:] / np.sqrt(self.count - 1)

    @property
    def rank(self) -> int:
        """Of the covariance, below the number of rows. AudiojaxError as `factor`."""
        return int(np.linalg.matrix_rank(self.factor))

    def _require(self, rows: int) -> None:
        if self.count < rows:
            raise AudiojaxError(f"{self.count} rows of features: a mean and a covariance need {rows} or more")
        self._reduce()

    def _reduce(self) -> None:
        if self._waiting:
            self._triangle = np.linalg.qr(np.concatenate([self._triangle, *self._waiting]), mode="r")
            self._waiting = []


def moments(rows: Float[np.ndarray, "n d"]) -> Moments:
    """The moments of rows that are all there. AudiojaxError as `Moments.add`."""
    rows = np.asarray(rows)
    found = Moments(rows.shape[-1])
    found.add(rows)
    return found


def frechet_distance(a: Moments, b: Moments) -> float:
    """The distance of two sets, 0 or more; the same either way round.

    Raises:
      AudiojaxError: a set of fewer than two rows, or rows of different widths.
    """
    if a.width != b.width:
        raise AudiojaxError(f"features of {a.width} and {b.width} numbers cannot be compared")
    root = np.linalg.svd(a.factor @ b.factor.T, compute_uv=False).sum()
    spread = np.sum(np.square(a.factor)) + np.sum(np.square(b.factor)) - 2 * root
    return float(max(np.sum(np.square(a.mean - b.mean)) + spread, 0.0))


def split_half_distances(
    generated: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"], *, paired: bool, splits: int = 10, seed: int = 0
) -> tuple[Float[np.ndarray, " splits"], Float[np.ndarray, " splits"]]:
    """(generated, real) against one random half of the reference: as many generated clips, and the other half of the reference.

    The distance falls with the number of clips, so only sets of one size compare. Their spread over splits shows the noise.

    Args:
      paired: whether row i of both belongs to one prompt; then the generated clips are those of the prompts of the other half.

    Raises:
      AudiojaxError: halves of fewer than two rows; sets that are paired and of different lengths.
    """
    if paired and len(generated) != len(reference):
        raise AudiojaxError(f"{len(generated)} and {len(reference)} rows are no pairs")
    half, rng = min(len(reference) // 2, len(generated)), np.random.default_rng(seed)
    found = []
    for _ in range(splits):
        order = rng.permutation(len(reference))
        other = order[half : 2 * half]
        chosen = other if paired else rng.permutation(len(generated))[:half]
        against = moments(reference[order[:half]])
        found.append([frechet_distance(moments(rows), against) for rows in (generated[chosen], reference[other])])
    return tuple(np.array(found).T)
