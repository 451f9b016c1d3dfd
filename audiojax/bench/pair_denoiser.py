"""Speed of DiffATR inference: Q queries over their top M candidates, K DDIM steps, our one-jit blocked sampler beside plain PyTorch.

Our side is `papers.diffatr.inference.diffuse_scores` as search and evaluation use it: cosine, top M, preparation of the gallery and all
DDIM steps in one call. The torch side runs the literal network in an eager loop over the same top M and the same start noise, which it is
given; its result is compared with ours before anything is timed. It runs on a GPU where ours does and torch has one, and on the CPU
otherwise. float32 is full float32 on both sides, in the comparison and in the timing: neither uses TF32.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from audiojax.bench.harness import MIN_QUIET, Row, Side, compare, same_maths

FORMS = {"eager": "float32", "bfloat16": "bfloat16"}  # of the torch network, and their dtypes
SMALL = {"queries": 64, "gallery": 32, "top_m": 8, "steps": 10, "width": 32, "torch_queries": 16}
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05}  # of x, which lies in [-1, 1], after all steps


def run(
    *,
    queries: int = 5_000,
    gallery: int = 1_000,
    top_m: int = 32,
    steps: int = 50,
    width: int = 1_024,
    query_block: int = 16,
    torch_queries: int = 200,
    torch_forms: Sequence[str] = ("eager",),
    samples: int = MIN_QUIET,
    attempts: int | None = None,
    allow_noise: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Rows of audiojax and of torch in each form, items = queries; see `compare`.

    Args:
      torch_queries: how many of the queries the slow side handles in a call.
      torch_forms: some of FORMS, each a row; () leaves torch out. bfloat16 takes minutes a call on many CPUs.
      samples, attempts, allow_noise, report: see `compare`.

    Raises:
      UsageError: torch is not installed.
      AudiojaxError: a worker stopped, or torch's result is not ours.
    """
    case = f"pair_denoiser: {queries} queries, top {top_m}, {steps} steps, D = {width}"

    with tempfile.TemporaryDirectory(prefix="audiojax-bench-") as folder:
        shared = {"shared": str(Path(folder) / "shared.npz")}
        sizes = {"queries": queries, "gallery": gallery, "top_m": top_m, "steps": steps, "width": width, "query_block": query_block}
        sides = [Side("audiojax", "audiojax.bench.pair_denoiser_jax", {**sizes, **shared, "checked": min(torch_queries, queries)})]
        for form in torch_forms:
            sides.append(Side(f"torch {form}", "audiojax.bench.pair_denoiser_torch", {**shared, "dtype": FORMS[form]}, ("torch",)))
        return compare(
            case,
            sides,
            check=same_maths(lambda side: TOLERANCE[side.spec.get("dtype", "float32")], f"after {steps} steps"),
            samples=samples,
            attempts=attempts,
            allow_noise=allow_noise,
            report=report,
        )
