"""Speed and memory of exact search: the ten best of many vectors for a hundred queries, beside faiss's flat index of inner products.

Both sides hold one copy of the same vectors, ours on the devices in blocks. The vectors are drawn piece by piece, so that the peak memory
of a worker, less what it had after its imports, is what its search needs: a note below the table says how many copies that is. This faiss
runs on the CPU: where ours runs on a GPU there is no ratio.
"""

import resource
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from audiojax.bench.harness import MIN_QUIET, Row, Side, compare
from audiojax.errors import AudiojaxError

SMALL = {"rows": 20_000, "width": 64, "queries": 10}
PIECE = 16_384  # vectors drawn at a time
TOLERANCE = 1e-5  # of a score: inner products of unit vectors


def draw_vectors(rows: int, width: int) -> Iterator[np.ndarray]:
    """The unit vectors of the bench, float32, PIECE at a time."""
    rng = np.random.default_rng(0)
    for first in range(0, rows, PIECE):
        piece = rng.standard_normal((min(PIECE, rows - first), width), np.float32)
        yield piece / np.linalg.norm(piece, axis=1, keepdims=True)


def draw_queries(count: int, width: int) -> np.ndarray:
    """The queries of the bench, unit vectors."""
    found = np.random.default_rng(1).standard_normal((count, width), np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def run(
    *,
    rows: int = 400_000,
    width: int = 512,
    queries: int = 100,
    k: int = 10,
    faiss: bool = True,
    samples: int = MIN_QUIET,
    attempts: int | None = None,
    allow_noise: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Rows of audiojax and of faiss, items = queries; the notes say how much memory each took, in copies of the vectors.

    Args:
      faiss: False leaves it out.
      samples, attempts, allow_noise, report: see `compare`.

    Raises:
      UsageError: faiss is not installed.
      AudiojaxError: a worker stopped, or faiss finds other scores than ours.
    """
    copies: dict[str, float] = {}

    def check(side: Side, facts: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
        copies[side.name] = facts["copies"]
        difference = float(np.abs(np.subtract(facts["scores"], ours["scores"])).max())
        if not difference <= TOLERANCE:
            raise AudiojaxError(f"{side.name} differs from audiojax by {difference:.2g} in a score: not the same search")

    spec = {"rows": rows, "width": width, "queries": queries, "k": k}
    sides = [Side("audiojax", "audiojax.bench.index_jax", spec)]
    if faiss:
        sides.append(Side("faiss flat", "audiojax.bench.index_faiss", spec, ("faiss",)))
    title = f"index: exact top {k} of {rows} x {width} float32"
    found = compare(title, sides, check=check, samples=samples, attempts=attempts, allow_noise=allow_noise, report=report)
    notes = (f"peak memory {copies[row.side]:.2f} copies of the vectors" for row in found)
    return [replace(row, note="; ".join(filter(None, (row.note, note)))) for row, note in zip(found, notes, strict=True)]


def added_copies(before: float, rows: int, width: int) -> float:
    """Peak memory of this process beyond `before` MiB, in copies of the vectors."""
    return (peak_mib() - before) * 2**20 / (rows * width * 4)


def peak_mib() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
