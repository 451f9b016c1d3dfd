"""Speed of the bridge of Diffusion-Link: embeddings noised to s* and denoised in 5 steps, beside PyTorch and a plain matrix product.

Our side is `papers.diffusion_link.bridge_embeddings` as `audiojax bridge` calls it, a batch at a time, its noise included. The torch side
is the same network in an eager loop, which also works out the time once a step; it is given our weights and our noise, and its result is
compared with ours before anything is timed. The third side multiplies two square matrices with jax: our GFLOP/s over its GFLOP/s says how
much of the machine the bridge uses. float32 is full float32 everywhere.

This module imports no array library.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from audiojax.bench.coattention import PRODUCT, share
from audiojax.bench.harness import MIN_QUIET, Row, Side, compare, same_maths

FORMS = ("eager",)  # of torch, float32
SMALL = {"config": "diffusion_link/soundworld:debug", "embeddings": 64, "batch": 32, "product": 64}
TOLERANCE = 1e-4  # of a coordinate of a unit vector


def run(
    *,
    config: str = "diffusion_link/audiocaps",
    embeddings: int = 8_192,
    batch: int = 4_096,
    product: int = 2_048,
    torch_forms: Sequence[str] = FORMS,
    samples: int = MIN_QUIET,
    attempts: int | None = None,
    allow_noise: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Rows of audiojax, of the matrix product and of torch, items = embeddings (products); the product's ratio is that of the GFLOP/s.

    Args:
      config: of Diffusion-Link, for its sizes.
      embeddings: in a call, whole batches of them.
      batch: embeddings at a time.
      product: rows and columns of both factors.
      torch_forms: some of FORMS, each a row; () leaves torch out.
      samples, attempts, allow_noise, report: see `compare`.

    Raises:
      UsageError: torch is not installed.
      AudiojaxError: a worker stopped, or torch's result is not ours.
    """

    count = -(-embeddings // batch)
    with tempfile.TemporaryDirectory(prefix="audiojax-bench-") as folder:
        shared = {"shared": str(Path(folder) / "shared.npz")}
        sides = [
            Side("audiojax", "audiojax.bench.bridge_jax", {"config": config, "batch": batch, "batches": count, **shared}),
            Side(PRODUCT, "audiojax.bench.coattention_jax", {"product": product}),
        ]
        for form in torch_forms:
            sides.append(Side(f"torch {form}", "audiojax.bench.bridge_torch", {"batches": count, **shared}, ("torch",)))
        title = f"bridge: {count * batch} embeddings, {batch} at a time, {config}; the product is {product}^3"
        rows = compare(
            title,
            sides,
            check=same_maths(lambda side: TOLERANCE, "in a coordinate"),
            samples=samples,
            attempts=attempts,
            allow_noise=allow_noise,
            report=report,
        )
    return [share(row, rows[0]) if row.side == PRODUCT else row for row in rows]


def useful_operations(rows: int, *, steps: int, features: int, width: int, blocks: int) -> float:
    """Operations of the matrix products of the network on vectors, two for a multiply-add; the time, once a step, is left out."""
    return 2.0 * rows * steps * (2 * features * width + blocks * 2 * width**2)
