"""Speed of DiffATR inference: Q queries over their top M candidates, K DDIM steps, our one-jit blocked sampler beside plain PyTorch.

Our side is `papers.diffatr.inference.diffuse_scores` as search and evaluation use it: cosine, top M, preparation of the gallery and all
DDIM steps in one call. The torch side runs the literal network in an eager loop over the same top M and the same start noise, which it is
given; its result is compared with ours before anything is timed. It runs on a GPU where ours does and torch has one, and on the CPU
otherwise. float32 is full float32 on both sides, in the comparison and in the timing: neither uses TF32.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from audiojax.bench.harness import MIN_QUIET, Row, Sample, Worker, alternate, make_row, with_ratios
from audiojax.errors import AudiojaxError, UsageError

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
    torch_dtypes: Sequence[str] = ("float32",),
    samples: int = MIN_QUIET,
    attempts: int | None = None,
    allow_noise: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Rows of audiojax and of torch in each dtype, items = queries; ratios per query, refused between a GPU or TPU and a CPU, and on a
    noisy machine unless `allow_noise`.

    Args:
      torch_queries: how many of the queries the slow side handles in a call.
      torch_dtypes: dtypes of the torch network, each a row; () leaves torch out. bfloat16 takes minutes a call on many CPUs.
      samples: quiet samples wanted of each side.
      attempts: calls of each side at most; None for four times the samples.
      report: called with a line of text when a side is ready and after every sample: all of it takes minutes.

    Raises:
      UsageError: torch is not installed.
      AudiojaxError: a worker stopped, or torch's result is not ours.
    """
    if torch_dtypes and importlib.util.find_spec("torch") is None:
        raise UsageError("the bench compares with torch: install it with pip install 'audiojax[parity]', or leave torch out")
    case = f"pair denoiser, top {top_m}, {steps} steps, D = {width}"
    with tempfile.TemporaryDirectory(prefix="audiojax-bench-") as folder:
        shared = str(Path(folder) / "shared.npz")
        sizes = {"queries": queries, "gallery": gallery, "top_m": top_m, "steps": steps, "width": width, "query_block": query_block}
        spec = {**sizes, "checked": min(torch_queries, queries), "shared": shared}
        sides = ["audiojax", *(f"torch eager {dtype}" for dtype in torch_dtypes)]
        workers = [Worker("audiojax.bench.pair_denoiser_jax", spec)]
        try:
            report(f"{sides[0]}: first call {workers[0].facts['first_seconds']:.1f} s")
            for side, dtype in zip(sides[1:], torch_dtypes, strict=True):
                torch_spec = {"shared": shared, "dtype": dtype, "platform": workers[0].facts["platform"]}
                workers.append(Worker("audiojax.bench.pair_denoiser_torch", torch_spec))
                report(f"{side}: first call {workers[-1].facts['first_seconds']:.1f} s")
                difference = workers[-1].facts["difference"]
                if not difference <= TOLERANCE[dtype]:
                    raise AudiojaxError(f"torch {dtype} differs from audiojax by {difference:.2g} after {steps} steps: not the same maths")

            def told(worker: int, sample: Sample) -> None:
                report(f"{sides[worker]}: {sample.seconds:.2f} s" + ("" if sample.quiet else ", other programs were busy"))

            taken = alternate(workers, samples, attempts or 4 * samples, told)
        finally:
            for worker in workers:
                worker.close()
    items = [queries, *([spec["checked"]] * len(torch_dtypes))]
    rows = []
    for side, count, got, worker in zip(sides, items, taken, workers, strict=True):
        first_seconds, platform, device = (worker.facts[name] for name in ("first_seconds", "platform", "device"))
        rows.append(make_row(case, side, count, got, first_seconds, worker.memory_mib, platform, device))
    return with_ratios(rows, allow_noise)
