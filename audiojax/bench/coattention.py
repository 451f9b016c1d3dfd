"""Speed of co-attention's pair scores: every text with every sound at the published width, beside PyTorch and a plain matrix product.

Our side is `models.co_attention.pair_scores` in evaluation. The torch side is the network as it is written: it is given our weights and
states and refines every pair by itself, a sound with all texts at a time, and its scores are compared with ours before anything is timed.
The third side multiplies two square matrices with jax: our GFLOP/s over its GFLOP/s says how much of the machine the scores use. float32 is
full float32 everywhere.

This module imports no array library.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from audiojax.bench.harness import MIN_QUIET, Row, Side, compare, same_maths

FORMS = ("eager",)  # of torch, float32
SMALL = {"texts": 4, "sounds": 3, "length": 5, "width": 16, "heads": 2, "input_width": 12, "product": 64}
TOLERANCE = 1e-4  # of a cosine
PRODUCT = "matrix product"


def run(
    *,
    texts: int = 16,
    sounds: int = 16,
    length: int = 32,
    width: int = 512,
    heads: int = 8,
    input_width: int = 768,
    steps: int = 2,
    product: int = 2_048,
    torch_forms: Sequence[str] = FORMS,
    samples: int = MIN_QUIET,
    attempts: int | None = None,
    allow_noise: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Rows of audiojax, of the matrix product and of torch, items = pairs (products); the product's ratio is that of the GFLOP/s.

    Args:
      length: words of a text, and segments of a sound.
      width: D; the feed-forward parts have 4 D inside.
      input_width: of a word and of a segment, as the towers give them.
      steps: R, of the cascade "iterate".
      product: rows and columns of both factors.
      torch_forms: some of FORMS, each a row; () leaves torch out.
      samples, attempts, allow_noise, report: see `compare`.

    Raises:
      UsageError: torch is not installed.
      AudiojaxError: a worker stopped, or torch's scores are not ours.
    """

    with tempfile.TemporaryDirectory(prefix="audiojax-bench-") as folder:
        shared = {"shared": str(Path(folder) / "shared.npz")}
        sizes = {"texts": texts, "sounds": sounds, "length": length, "width": width, "heads": heads, "input_width": input_width}
        sides = [
            Side("audiojax", "audiojax.bench.coattention_jax", {**sizes, **shared, "steps": steps}),
            Side(PRODUCT, "audiojax.bench.coattention_jax", {"product": product}),
        ]
        for form in torch_forms:
            sides.append(Side(f"torch {form}", "audiojax.bench.coattention_torch", {**shared, "heads": heads, "steps": steps}, ("torch",)))
        title = f"coattention: {texts} texts x {sounds} sounds of {length} states, {steps} steps, D = {width}; the product is {product}^3"
        rows = compare(
            title,
            sides,
            check=same_maths(lambda side: TOLERANCE, "in a score"),
            samples=samples,
            attempts=attempts,
            allow_noise=allow_noise,
            report=report,
        )
    return [share(row, rows[0]) if row.side == PRODUCT else row for row in rows]


def share(product: Row, ours: Row) -> Row:
    """The row of the product with our GFLOP/s over its own as ratio, unless there is none."""
    return product if product.ratio is None else replace(product, ratio=ours.gflops / product.gflops)


def useful_operations(
    texts: int, sounds: int, *, words: int, segments: int, width: int, hidden: int, input_width: int, steps: int
) -> float:
    """Operations of the matrix products that all scores need, two for a multiply-add, in the guided unit of parallel updates.

    Counted once for a text, and for a sound: what needs nothing of the other side, which is the map to `width`, the first self-attention,
    and the first queries, keys and values of the attention between both. Counted for every pair: the rest of step 1, whole steps after
    it (2 (L + N) (8 D^2 + 2 D hidden), and what the attention does), the mean over time and the last map. Softmax, norms and sums are
    left out.
    """

    def alone(length: int) -> int:  # self-attention, and queries, keys and values for the other side
        return 14 * length * width**2 + 4 * length**2 * width

    both = words + segments
    once = sum(count * (2 * length * input_width * width + alone(length)) for count, length in ((texts, words), (sounds, segments)))
    guided = 8 * words * segments * width + both * (2 * width**2 + 4 * width * hidden)
    last = 2 * both * width + 4 * width**2
    return float(once + texts * sounds * (steps * guided + (steps - 1) * (alone(words) + alone(segments)) + last))
